import type { Config } from "../config/schema/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { Draft } from "./draft.ts";
import { whyLeftOut } from "./user-services.ts";

/** The job sources as the worker shall run them: `auto` decided, ports chosen, and off where a user's service takes over. */
export function resolveSources(draft: Draft): Config["sources"] {
  const { config } = draft;
  const replaced = new Set(
    Object.values(config.services).flatMap((one) => (one.replacesSource !== undefined && whyLeftOut(draft, one) === undefined ? [one.replacesSource] : [])),
  );
  const { runpod, http, file } = config.sources;
  return {
    ...(runpod && { runpod: { ...runpod, enabled: isRunpodOn(runpod) && !replaced.has("runpod") } }),
    ...(http && { http: { ...http, enabled: http.enabled && !replaced.has("http"), port: http.enabled ? draft.port(http.port) : http.port } }),
    ...(file && { file: { ...file, enabled: file.enabled && !replaced.has("file") } }),
  };
}

function isRunpodOn({ enabled, takeUrl }: NonNullable<Config["sources"]["runpod"]>): boolean {
  if (enabled === true && takeUrl === "") {
    throw new FettleError("config.invalid", "Cannot use the RunPod source: takeUrl is empty.", {
      hint: "RunPod sets RUNPOD_WEBHOOK_GET_JOB in its workers; with enabled: auto the source is on only there.",
      where: { path: "sources.runpod.takeUrl" },
    });
  }
  return enabled === "auto" ? takeUrl !== "" : enabled;
}

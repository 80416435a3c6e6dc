import type { EngineConfig } from "../../config/schema/index.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";

export const secretsChecks: readonly Check[] = [
  { id: "secrets.runpod", subject: "secrets", title: "RunPod's variables", needs: ["config.valid"], check: async (patient) => runpod(patient) },
  { id: "secrets.open", subject: "secrets", title: "open to others", needs: ["config.valid"], check: async (patient) => open(patient) },
];

const fromPlatform = "Deploy it as a serverless endpoint; the platform sets them.";

function runpod({ env, valid }: Patient): Finding {
  const source = valid.sources.runpod;
  if (source === undefined || source.enabled === false) return notChecked("this configuration takes no jobs from RunPod");
  const isEndpoint = Boolean(env["RUNPOD_ENDPOINT_ID"]);
  if (source.takeUrl === "") {
    if (isEndpoint || source.enabled === true) return critical("RUNPOD_WEBHOOK_GET_JOB has no value, so no job can be taken", fromPlatform);
    return notChecked(env["RUNPOD_POD_ID"] ? "a pod, not a serverless endpoint: it gives out no jobs" : "not on RunPod");
  }
  if (source.doneUrl === "") return critical("jobs can be taken, but RUNPOD_WEBHOOK_POST_OUTPUT has no value, so no result can be delivered", fromPlatform);
  const missing = [
    ...(source.apiKey === "" ? ["RUNPOD_AI_API_KEY"] : []),
    ...(source.pingUrl === "" ? ["RUNPOD_WEBHOOK_PING"] : []),
    ...(source.podId === "" ? ["RUNPOD_POD_ID"] : []),
  ];
  if (missing.length > 0)
    return warning(
      `${missing.join(", ")} ${missing.length > 1 ? "have" : "has"} no value: the platform may take this worker for dead, or refuse it`,
      fromPlatform,
    );
  return ok("complete");
}

function open({ valid, engines, env }: Patient): Finding | Finding[] {
  const { http } = valid.sources;
  const found: Finding[] = [];
  if (http?.enabled && !isLoopback(http.listen)) {
    const item = "job API";
    found.push(
      http.apiKey === ""
        ? about(
            item,
            (http.allowUnauthenticated ? warning : critical)(
              `listens on ${http.listen}:${http.port} without a key: whoever reaches this machine can run jobs`,
              "Set FETTLE_API_KEY, or FETTLE_HTTP_LISTEN=127.0.0.1.",
            ),
          )
        : about(item, ok(`listens on ${http.listen}:${http.port}, with a key`)),
    );
  }
  for (const [name, engine] of engines) {
    const trouble = openEngine(engine, env);
    if (trouble !== undefined)
      found.push(about(name, critical(`${trouble} without a password`, `Set engines.${name}.host to 127.0.0.1, or give it a password.`)));
  }
  return found.length > 0 ? found : ok("everything listens on loopback");
}

function openEngine(engine: EngineConfig, env: Patient["env"]): string | undefined {
  if (engine.kind === "diffusers") return isLoopback(engine.host) || env["FETTLE_API_AUTH"] ? undefined : `listens on ${engine.host}`;
  if (engine.kind === "python" || engine.kind === "comfyui") return isLoopback(engine.host) ? undefined : `listens on ${engine.host}`;
  const args = [...engine.args, ...engine.extraArgs];
  const has = (name: string) => args.some((word) => word === name || word.startsWith(`${name}=`));
  if (has("--api-auth")) return undefined;
  return has("--listen") ? "--listen opens its API" : has("--share") ? "--share puts it on the internet" : undefined;
}

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");

import { useWorkflows } from "./use-workflows.ts";
import type { LoadedConfig } from "../config/load.ts";
import { pythonOf } from "../control/worker-settings.ts";
import type { Log, LogFormat } from "../log/log.ts";
import type { Patience } from "./instance-request.ts";
import type { Target } from "./target.ts";

export interface OpenTargetOptions {
  readonly loaded: Pick<LoadedConfig, "config" | "profile">;
  /** A running instance's job API. */
  readonly url: string | undefined;
  /** An engine that runs elsewhere. */
  readonly engineUrl: string | undefined;
  readonly apiKey: string;
  /** The folder of a workflow that the jobs name. */
  readonly workflows: string | undefined;
  /** Several jobs: an engine that dies is started again for the others. */
  readonly many: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly logFormat: LogFormat;
  readonly onWait?: Patience["onWait"];
  readonly signal: AbortSignal;
}

/** Asks the instance, finds the engine, or boots one; rejects when it cannot serve, before any job is run. */
export async function openTarget(options: OpenTargetOptions): Promise<Target> {
  const { loaded, url, engineUrl, apiKey, many, env, log, logFormat, onWait, signal } = options;
  if (url !== undefined) {
    const { targetThere } = await import("./ask-instance.ts");
    return await targetThere({ url, apiKey, config: loaded.config, ...(onWait && { onWait }), signal });
  }
  const { bootEngine } = await import("./boot-engine.ts");
  const { targetHere } = await import("./run-here.ts");
  let { config } = loaded;
  const { workflows } = options;
  if (engineUrl !== undefined) {
    const { detectEngine, useDetected } = await import("./detect-engine.ts");
    config = useDetected(config, engineUrl, await detectEngine(engineUrl, { signal }));
  }
  if (workflows !== undefined) config = useWorkflows(config, workflows);
  const booted = await bootEngine({ config, profile: loaded.profile, env, log, logFormat, keepAlive: many, signal });
  // The engine that was found elsewhere has no Python here; the configured one may.
  const results = { ...config.results, python: config.results.python ?? pythonOf(loaded.config) };
  return targetHere(booted, { config: { ...config, results }, log });
}

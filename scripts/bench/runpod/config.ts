/** fettle's configuration for a bench, as a value: JSON is YAML. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface ConfigParts {
  readonly dir: string;
  readonly engine: Readonly<Record<string, unknown>>;
  readonly concurrency: number;
  readonly jobs?: Readonly<Record<string, unknown>>;
  /** Takes jobs over HTTP there instead of from RunPod. */
  readonly httpPort?: number;
}

/** Writes it to a file of its own with folders of its own; gives the file's path. */
export function writeConfig({ dir, engine, concurrency, jobs = {}, httpPort }: ConfigParts): string {
  const runpod = {
    takeUrl: "${RUNPOD_WEBHOOK_GET_JOB}",
    doneUrl: "${RUNPOD_WEBHOOK_POST_OUTPUT}",
    pingUrl: "${RUNPOD_WEBHOOK_PING}",
    apiKey: "${RUNPOD_AI_API_KEY}",
    podId: "${RUNPOD_POD_ID}",
    endpointId: "${RUNPOD_ENDPOINT_ID}",
    concurrency,
  };
  const config = {
    engines: { bench: engine },
    sources: httpPort === undefined ? { runpod } : { http: { port: httpPort, concurrency } },
    jobs,
    health: { port: 0 },
    stateDir: join(dir, "state"),
    logDir: join(dir, "log"),
    runtimeDir: join(dir, "run"),
  };
  const path = join(dir, "fettle.yaml");
  writeFileSync(path, JSON.stringify(config, null, 2));
  return path;
}

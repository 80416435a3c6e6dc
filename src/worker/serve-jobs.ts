import type { WorkerSettings } from "../control/protocol.ts";
import type { FettleEvent } from "../events/event.ts";
import type { JobDesk, Listening } from "../jobs/sources/http.ts";

export interface ServeOptions {
  readonly config: NonNullable<WorkerSettings["sources"]["http"]>;
  readonly emit: (event: FettleEvent) => void;
  /** Aborts at the very end of the drain. */
  readonly exit: AbortSignal;
}

/** Puts the job API on its port. Loads the HTTP stack only here: a worker that takes jobs from elsewhere starts without it. */
export async function serveJobs(desk: JobDesk, { config, emit, exit }: ServeOptions): Promise<Listening> {
  const [{ createJobApi }, { listen }] = await Promise.all([import("../server/job-api.ts"), import("../server/listen.ts")]);
  const app = createJobApi({ desk, apiKey: config.apiKey, maxBodyBytes: config.maxBody, signal: exit });
  const listening = await listen(app, { host: config.listen, port: config.port });
  emit({ type: "worker.listening", url: listening.url });
  return listening;
}

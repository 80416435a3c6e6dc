import type { WorkerSettings } from "../control/protocol.ts";
import type { FettleEvent } from "../events/event.ts";
import type { JobFeed } from "../jobs/job-feed.ts";
import type { JobDesk, Listening } from "../jobs/sources/http-desk.ts";

export interface ServeOptions {
  readonly config: NonNullable<WorkerSettings["sources"]["http"]>;
  readonly feed: JobFeed;
  readonly emit: (event: FettleEvent) => void;
  /** Aborts at the very end of the drain. */
  readonly exit: AbortSignal;
}

/** Puts the job API on its port, and `/ping` on its own where that is wanted. Loads the HTTP stack only here: a worker that takes jobs from elsewhere starts without it. */
export async function serveJobs(desk: JobDesk, { config, feed, emit, exit }: ServeOptions): Promise<Listening> {
  const [{ createJobApi }, { createPingApi }, { listen }] = await Promise.all([
    import("../server/job-api.ts"),
    import("../server/ping.ts"),
    import("../server/listen.ts"),
  ]);
  const { apiKey, maxBody: maxBodyBytes, listen: host, port, healthPort, allowOrigins, allowHosts } = config;
  const app = createJobApi({ desk, feed, apiKey, listen: host, allowOrigins, allowHosts, maxBodyBytes, signal: exit });
  const listening = await listen(app, { host, port });
  // The platform that asks on it may be the same as for the jobs, so it may name the same port.
  const pinged = healthPort === "" || healthPort === port ? undefined : await listen(createPingApi(desk), { host, port: healthPort });
  emit({ type: "worker.listening", url: listening.url });
  return {
    url: listening.url,
    async close() {
      feed.close();
      await Promise.all([listening.close(), pinged?.close()]);
    },
  };
}

import type { WorkerSettings } from "../control/protocol.ts";
import type { FettleEvent } from "../events/event.ts";
import type { Finisher } from "../jobs/finisher.ts";
import type { Journal } from "../jobs/journal.ts";
import type { Pool } from "../jobs/pool.ts";
import type { Source } from "../jobs/source.ts";
import { FileSource } from "../jobs/sources/file.ts";
import { HttpSource, type JobDesk, type Listening } from "../jobs/sources/http.ts";
import { envelopeLimits, isRunpodOn } from "../jobs/sources/index.ts";
import { RunpodSource } from "../jobs/sources/runpod.ts";
import type { Log } from "../log/log.ts";

export interface SourceParts {
  readonly settings: WorkerSettings;
  readonly journal: Journal;
  readonly finisher: Finisher;
  readonly pool: Pool;
  readonly log: Log;
  readonly emit: (event: FettleEvent) => void;
  readonly exit: AbortSignal;
  /** A file's job asks the whole worker to end with this exit code. */
  readonly end: (exitCode: number) => void;
}

/** The sources that the settings turn on; none is opened yet. */
export function openSources(parts: SourceParts): readonly Source[] {
  const { settings, journal, finisher, pool, log, emit, end } = parts;
  const { runpod, http, file } = settings.sources;
  const limits = envelopeLimits(settings.jobs);
  const sources: Source[] = [];
  if (isRunpodOn(runpod)) {
    if (runpod.announce !== undefined) log.line(runpod.announce);
    sources.push(new RunpodSource({ config: runpod, limits, emit }));
  }
  if (http?.enabled) {
    const bounded = { ...limits, maxBytes: Math.min(limits.maxBytes, http.maxBody) };
    sources.push(new HttpSource({ config: http, limits: bounded, journal, finisher, pool, listen: (desk) => serveJobs(desk, parts) }));
  }
  if (file?.enabled) {
    const onEnd = ({ status }: { status: string }) => void (file.exitWhenDone && end(status === "COMPLETED" ? 0 : 1));
    sources.push(new FileSource({ config: file, limits, log, onEnd }));
  }
  return sources;
}

/** Loads the HTTP stack only here: a worker that takes jobs from elsewhere starts without it. */
async function serveJobs(desk: JobDesk, { settings, emit, exit }: SourceParts): Promise<Listening> {
  const http = settings.sources.http as NonNullable<WorkerSettings["sources"]["http"]>;
  const [{ createJobApi }, { listen }] = await Promise.all([import("../server/job-api.ts"), import("../server/listen.ts")]);
  const app = createJobApi({ desk, apiKey: http.apiKey, maxBodyBytes: http.maxBody, signal: exit });
  const listening = await listen(app, { host: http.listen, port: http.port });
  emit({ type: "worker.listening", url: listening.url });
  return listening;
}

import type { WorkerSettings } from "../../control/protocol.ts";
import type { FettleEvent } from "../../events/event.ts";
import type { Log } from "../../log/log.ts";
import type { EnginePulse } from "../engine-pulse.ts";
import { envelopeLimits } from "../envelope.ts";
import type { Finisher } from "../finisher.ts";
import type { JobFeed } from "../job-feed.ts";
import type { Journal } from "../journal.ts";
import type { Pool } from "../pool.ts";
import type { Source } from "../source.ts";
import { WebhookOutbox } from "../webhooks/outbox.ts";
import { FileSource } from "./file.ts";
import { HttpSource, type HttpSourceParts } from "./http.ts";
import type { CheckFitness } from "./runpod-fitness.ts";
import { RunpodSource } from "./runpod.ts";

export interface SourceParts {
  readonly settings: WorkerSettings;
  readonly journal: Journal;
  readonly finisher: Finisher;
  readonly pool: Pool;
  readonly log: Log;
  readonly emit: (event: FettleEvent) => void;
  /** Puts the HTTP source's desk on the network; the server is not this folder's matter. */
  readonly listen: HttpSourceParts["listen"];
  /** Told of the jobs' progress; asked whether somebody wants previews. */
  readonly feed: JobFeed;
  readonly areEnginesDead: () => boolean;
  /** What is wrong with a job, where that can be seen before it is accepted. */
  readonly check?: HttpSourceParts["check"];
  readonly pulse: Pick<EnginePulse, "isAlive">;
  /** Left out when the machine needs no look any more. */
  readonly checkFitness?: CheckFitness | undefined;
  /** Asks the supervisor to end the whole container with this exit code, after a drain. */
  readonly endContainer: (exitCode: number, reason: string) => void;
  /** A file's job asks the whole worker to end with this exit code. */
  readonly end: (exitCode: number) => void;
}

/** One row per kind: undefined when the settings have it off. The plan has decided what `auto` means. */
const kinds: Readonly<Record<keyof WorkerSettings["sources"], (parts: SourceParts) => Source | undefined>> = {
  runpod: ({ settings, ...parts }) => {
    const config = settings.sources.runpod;
    return config?.enabled === true ? new RunpodSource({ ...parts, config, limits: envelopeLimits(settings.jobs) }) : undefined;
  },
  http: ({ settings, ...parts }) => {
    const config = settings.sources.http;
    if (!config?.enabled) return undefined;
    const limits = envelopeLimits(settings.jobs);
    const outbox = new WebhookOutbox({ ...parts, config: config.webhook });
    return new HttpSource({ ...parts, outbox, config, limits: { ...limits, maxBytes: Math.min(limits.maxBytes, config.maxBody) } });
  },
  file: ({ settings, log, end }) => {
    const config = settings.sources.file;
    if (!config?.enabled) return undefined;
    const onEnd = (status: string) => void (config.exitWhenDone && end(status === "COMPLETED" ? 0 : 1));
    return new FileSource({ config, limits: envelopeLimits(settings.jobs), log, onEnd });
  },
};

/** The sources that the settings turn on; none is opened yet. */
export function createSources(parts: SourceParts): readonly Source[] {
  return Object.values(kinds).flatMap((create) => create(parts) ?? []);
}

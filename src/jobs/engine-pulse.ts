import type { Snapshot } from "../control/protocol.ts";
import type { StampedEvent } from "../events/event.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import type { Pool } from "./pool.ts";

interface Beat {
  readonly service: string;
  /** Unwanted ends since it was last ready. */
  failures: number;
  /** The supervisor starts it no more. */
  givenUp: boolean;
}

/** One crash is repaired while pings go on; the second in a row is the beginning of a crash loop. */
const toleratedFailures = 1;
/** An engine of somebody else that has answered before may be away for so long. */
const awayMs = 60_000;

/**
 * Whether a platform may be told "this worker is well": some engine is ready, booting, or being repaired for the first time.
 * An observer of the supervisor's events; engines that were not launched here are judged by the pool's word.
 */
export class EnginePulse {
  #beats: readonly Beat[] = [];
  readonly #services: readonly string[];
  readonly #pool: Pool;
  readonly #hasForeign: boolean;
  readonly #unwatch: () => void;
  #isReady = false;
  /** When the last engine that had been ready was gone. */
  #lostAt: number | undefined;

  constructor({ engines, snapshot, pool }: { engines: readonly PlannedEngine[]; snapshot: Snapshot; pool: Pool }) {
    this.#pool = pool;
    this.#services = engines.flatMap(({ service }) => service ?? []);
    this.resume(snapshot);
    this.#hasForeign = engines.some(({ service }) => service === undefined);
    this.#unwatch = pool.watch(() => this.#look());
    this.#look();
  }

  observe(event: StampedEvent): void {
    if (!("service" in event)) return;
    const beat = this.#beats.find(({ service }) => service === event.service);
    if (!beat) return;
    switch (event.type) {
      case "service.ready":
        beat.failures = 0;
        beat.givenUp = false;
        return;
      case "service.spawned":
        beat.givenUp = false;
        return;
      case "service.exited":
        if (!event.wanted) beat.failures += 1;
        return;
      case "service.failed":
        beat.failures += 1;
        return;
      case "service.crash-looping":
      case "service.given-up":
        beat.givenUp = true;
        return;
      default:
        return;
    }
  }

  /** What the supervisor says now, at the start and after its events were not followed for a while. */
  resume(snapshot: Pick<Snapshot, "services">): void {
    this.#beats = this.#services.map((service) => {
      const state = snapshot.services?.find(({ name }) => name === service)?.state;
      return { service, failures: state === "backing-off" ? 1 : 0, givenUp: state === "crash-looping" };
    });
  }

  /** No engine will run a job again without somebody's help. */
  get areAllGivenUp(): boolean {
    return this.#beats.length > 0 && !this.#hasForeign && this.#beats.every(({ givenUp }) => givenUp);
  }

  get isAlive(): boolean {
    if (this.#beats.length === 0 && !this.#hasForeign) return true;
    if (this.#beats.some(({ failures, givenUp }) => !givenUp && failures <= toleratedFailures)) return true;
    return this.#hasForeign && (this.#isReady || this.#lostAt === undefined || performance.now() - this.#lostAt < awayMs);
  }

  close(): void {
    this.#unwatch();
  }

  #look(): void {
    const isReady = this.#pool.isAnyReady;
    if (this.#isReady && !isReady) this.#lostAt = performance.now();
    this.#isReady = isReady;
  }
}

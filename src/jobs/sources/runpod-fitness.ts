import type { Log } from "../../log/log.ts";
import { type PingTarget, pingUnhealthy } from "./runpod-ping.ts";

/** The first thing that makes the machine unfit for jobs; undefined: it is fit. */
export type CheckFitness = (options: { signal: AbortSignal }) => Promise<Unfit | undefined>;

export interface Unfit {
  /** Which check it was, such as `memory`. */
  readonly check: string;
  readonly reason: string;
}

export interface RunpodFitnessParts {
  readonly check: CheckFitness | undefined;
  readonly target: PingTarget | undefined;
  readonly log: Log;
  readonly endContainer: (exitCode: number, reason: string) => void;
}

/**
 * The gate before the first job: the machine is looked at while the engine boots, and a job is asked for only when it is fit.
 * An unfit one says so to the platform once, and ends with code 1, as the SDK's worker does.
 */
export class RunpodFitness {
  readonly #parts: RunpodFitnessParts;
  #verdict: Promise<Unfit | undefined> = Promise.resolve(undefined);
  #isKnown = true;
  #unfit = false;

  constructor(parts: RunpodFitnessParts) {
    this.#parts = parts;
  }

  get isUnfit(): boolean {
    return this.#unfit;
  }

  async begin({ signal }: { signal: AbortSignal }): Promise<void> {
    const { check, target, log, endContainer } = this.#parts;
    if (!check) return;
    this.#isKnown = false;
    this.#verdict = check({ signal }).catch((error: unknown) => {
      // A check that is broken says nothing about the machine.
      log.warn(`Cannot look at the machine's fitness: ${String(error)}.`);
      return undefined;
    });
    const unfit = await this.#verdict;
    this.#isKnown = true;
    if (!unfit || signal.aborted) return;
    this.#unfit = true;
    log.error(`This machine is not fit for jobs: ${unfit.reason} (${unfit.check}). The worker is unhealthy and ends.`);
    if (target) await pingUnhealthy(target, unfit);
    endContainer(1, `this machine is not fit for jobs (${unfit.check})`);
  }

  /** Waits for the verdict; false when there shall be no job, or the signal aborts first. */
  async isFit({ signal }: { signal: AbortSignal }): Promise<boolean> {
    if (this.#isKnown) return !this.#unfit;
    const stopped = new Promise<"stopped">((resolve) => signal.addEventListener("abort", () => resolve("stopped"), { once: true }));
    const verdict = await Promise.race([this.#verdict, stopped]);
    return verdict === undefined;
  }
}

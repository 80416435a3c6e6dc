/**
 *   stopping ── no more leases, running jobs go on ──▶ deadline ── interrupt them, post what became of them ──▶ exit
 *
 * All three within the stop budget, less what the engines need to stop after the worker. A second signal goes to the deadline at once.
 */
export interface Drain {
  readonly stopping: AbortSignal;
  readonly deadline: AbortSignal;
  readonly exit: AbortSignal;
  /** Resolves a moment after `exit`, when whatever has not ended is left to the journal. */
  readonly over: Promise<void>;
  begin(): void;
  /** No more patience: the deadline is now, and the exit as soon as what became of the jobs can be posted. */
  hasten(): void;
  /** All at once: nobody is left to drain for. */
  cut(): void;
}

/** For the engines' own stop, which comes after the worker's. */
const engineReserve = { share: 0.25, maxMs: 1750 };
/** For interrupting what runs and posting its failure. */
const postReserve = { share: 0.2, maxMs: 1250 };
const overAfterExitMs = 150;
/** With the moment after the exit within the second that a hastened supervisor gives its worker. */
const hastyPostMs = 700;

export function planDrain(budgetMs: number): Drain {
  const stopping = new AbortController();
  const deadline = new AbortController();
  const exit = new AbortController();
  const over = Promise.withResolvers<void>();
  const exitMs = budgetMs - Math.min(engineReserve.maxMs, budgetMs * engineReserve.share);
  const deadlineMs = exitMs - Math.min(postReserve.maxMs, budgetMs * postReserve.share);
  const after = (ms: number, run: () => void) => void setTimeout(run, ms).unref();
  const end = () => {
    exit.abort();
    after(overAfterExitMs, over.resolve);
  };
  return {
    stopping: stopping.signal,
    deadline: deadline.signal,
    exit: exit.signal,
    over: over.promise,
    begin() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      after(deadlineMs, () => deadline.abort());
      after(exitMs, end);
    },
    hasten() {
      stopping.abort();
      deadline.abort();
      after(hastyPostMs, end);
    },
    cut() {
      stopping.abort();
      deadline.abort();
      end();
    },
  };
}

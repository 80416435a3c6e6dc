/** Waits `ms`; resolves early (never rejects) when the signal aborts. The timer never keeps the process alive after an abort. */
export function pause(ms: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/**
 * Waits for the next beat of a clock that ticks every `periodMs` for the whole process, at least half a period away: everyone
 * with the same period wakes up together, which costs an idle process one wake-up instead of many.
 */
export function untilBeat(periodMs: number, options: { signal?: AbortSignal } = {}): Promise<void> {
  const restMs = periodMs - (performance.now() % periodMs);
  return pause(restMs < periodMs / 2 ? restMs + periodMs : restMs, options);
}

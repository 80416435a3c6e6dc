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

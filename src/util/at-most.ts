import { pause } from "./pause.ts";

/** What the work gives, or undefined when it takes longer than `ms` or the signal aborts; the work itself goes on. */
export async function atMost<T>(ms: number, work: Promise<T>, { signal }: { signal?: AbortSignal } = {}): Promise<T | undefined> {
  const late = new AbortController();
  const stop = () => late.abort();
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    return await Promise.race([work, pause(ms, { signal: late.signal }).then(() => undefined)]);
  } finally {
    late.abort();
    signal?.removeEventListener("abort", stop);
  }
}

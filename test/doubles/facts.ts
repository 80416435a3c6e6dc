/** Waiting for facts: a predicate is asked again whenever its owner says something changed; nothing polls, nothing sleeps. */

export type Facts = {
  /** Tell the waiters that something changed. */
  changed: () => void;
  /** Resolves with the predicate's first value that is not undefined; an abort rejects and names what never came. */
  until: <T>(what: string, look: () => T | undefined, options?: { signal?: AbortSignal | undefined }) => Promise<T>;
};

export function createFacts(describe: () => string = () => ""): Facts {
  const waiters = new Set<() => void>();
  return {
    changed() {
      for (const look of waiters) look();
    },
    until(what, look, { signal } = {}) {
      return new Promise((resolve, reject) => {
        const stop = () => {
          waiters.delete(attempt);
          signal?.removeEventListener("abort", abort);
        };
        const abort = () => {
          stop();
          reject(new Error(`Never came true: ${what}. ${describe()}`, { cause: signal?.reason }));
        };
        const attempt = () => {
          const seen = look();
          if (seen === undefined) return;
          stop();
          resolve(seen);
        };
        if (signal?.aborted) return abort();
        signal?.addEventListener("abort", abort, { once: true });
        waiters.add(attempt);
        attempt();
      });
    },
  };
}

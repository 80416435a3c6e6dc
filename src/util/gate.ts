/** Lets so many in at once; the others wait in order. */
export interface Gate {
  /** Resolves with the turn, which ends when it is disposed of. Rejects with the signal's reason. */
  enter(options: { signal: AbortSignal }): Promise<Disposable>;
}

export function createGate(places: number): Gate {
  let free = places;
  const waiting: (() => void)[] = [];
  const leave = () => {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  };
  const turn = (): Disposable => {
    let left = false;
    return {
      [Symbol.dispose]() {
        if (!left) leave();
        left = true;
      },
    };
  };
  return {
    async enter({ signal }) {
      signal.throwIfAborted();
      if (free > 0) {
        free -= 1;
        return turn();
      }
      await new Promise<void>((resolve, reject) => {
        const onTurn = () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        };
        const onAbort = () => {
          waiting.splice(waiting.indexOf(onTurn), 1);
          reject(signal.reason as Error);
        };
        waiting.push(onTurn);
        signal.addEventListener("abort", onAbort, { once: true });
      });
      return turn();
    },
  };
}

import { type Check, type CheckResult, passed, refused } from "./check.ts";

export interface NotifyCheck {
  readonly check: Check;
  /** Give it what arrives on the descriptor; undefined when the program has closed it. */
  feed(chunk: Buffer | undefined): void;
}

/** The program's own word: a line on a descriptor that it was given, as s6 does it. Closed without a line, it never becomes ready. */
export function notifyCheck(): NotifyCheck {
  const waiting = new Set<() => void>();
  let said: "ready" | "nothing" | undefined;
  const answer = (): CheckResult =>
    said === "ready" ? passed : refused(said === undefined ? "it has not written a line to fd 3 yet" : "it closed fd 3 without a line");
  return {
    feed(chunk) {
      if (chunk === undefined) said ??= "nothing";
      else if (chunk.includes("\n")) said = "ready";
      if (said === "ready") for (const tell of waiting) tell();
    },
    check: ({ signal }) =>
      new Promise((resolve) => {
        const end = () => {
          waiting.delete(end);
          signal.removeEventListener("abort", end);
          resolve(answer());
        };
        if (said === "ready") return end();
        waiting.add(end);
        signal.addEventListener("abort", end, { once: true });
      }),
  };
}

import { type Check, type CheckResult, passed, refused } from "./check.ts";

export interface LogLineCheck {
  readonly check: Check;
  /** Give it each line of output; it answers by itself, nothing polls. */
  feed(line: string): void;
}

/** A line of output that matches counts; once seen it stays seen for this child. The pattern is a JavaScript regular expression. */
export function logLineCheck(pattern: string): LogLineCheck {
  const expression = new RegExp(pattern);
  const waiting = new Set<() => void>();
  let seen = false;
  return {
    feed(line) {
      if (seen || !expression.test(line)) return;
      seen = true;
      for (const tell of waiting) tell();
    },
    check: ({ signal }) =>
      new Promise<CheckResult>((resolve) => {
        if (seen) return resolve(passed);
        const end = () => {
          waiting.delete(end);
          signal.removeEventListener("abort", end);
          resolve(seen ? passed : refused(`no line matches /${pattern}/ yet`));
        };
        waiting.add(end);
        signal.addEventListener("abort", end, { once: true });
      }),
  };
}

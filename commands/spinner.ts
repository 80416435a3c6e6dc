import type { Log } from "../src/log/log.ts";
import ora from "ora";

export interface Spinner extends Disposable {
  update(text: string): void;
  succeed(text: string): void;
}

/** A terminal that knows its width: in one of 0 columns (a `docker run -t` that nobody looks at) ora clears lines without end. */
export const isDrawable = (stream: NodeJS.WriteStream): boolean => stream.isTTY && stream.columns > 0;

/** A spinner on a terminal; elsewhere one plain line at the start and one at the end. Left without succeed, it vanishes. */
export function startSpinner(text: string, log: Log): Spinner {
  if (!isDrawable(process.stderr)) {
    log.info(`${text} …`);
    return { update: () => undefined, succeed: (last) => log.success(last), [Symbol.dispose]: () => undefined };
  }
  // discardStdin reads the terminal, and a signal must still reach us.
  const spinner = ora({ text, stream: process.stderr, discardStdin: false }).start();
  return {
    update(next) {
      spinner.text = next;
    },
    succeed: (last) => void spinner.succeed(last),
    [Symbol.dispose]: () => void spinner.stop(),
  };
}

import type { Ending } from "../events/event.ts";
import { type Check, passed, refused } from "./check.ts";

/** Runs a command to its end, or kills it when the signal aborts; a text is the reason why it could not start. */
export type RunCommand = (argv: readonly string[], options: { signal: AbortSignal }) => Promise<Ending | string>;

/** A command that ends with 0 counts. It runs as the service would: its environment, folder and user. */
export function execCheck(argv: readonly string[], run: RunCommand): Check {
  return async ({ signal }) => {
    const ending = await run(argv, { signal });
    if (signal.aborted) return refused(`${argv[0]} took too long`);
    if (typeof ending === "string") return refused(ending);
    if (ending.code === 0) return passed;
    return refused(ending.code === null ? `${argv[0]} died of ${ending.signal}` : `${argv[0]} ended with ${ending.code}`);
  };
}

// probes/ owns how to ask whether a service is ready: one file for each way of asking, the loop and its pace in probe.ts.
// Takes: a ProbeSpec of the plan. Gives: ready, or the reason why not, as a value; a check never throws.
// Must not know processes: the exec check is given the means to run a command, the log-line check is fed with lines.

/** `listening`: somebody accepted the connection, only the answer was not the right one. */
export type CheckResult = { readonly ok: true } | { readonly ok: false; readonly reason: string; readonly listening?: true };

/** One try. It ends soon after the signal aborts; the answer then counts for nothing. */
export type Check = (options: { signal: AbortSignal }) => Promise<CheckResult>;

export const passed: CheckResult = { ok: true };
export const refused = (reason: string): CheckResult => ({ ok: false, reason });

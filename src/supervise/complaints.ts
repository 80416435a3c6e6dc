import type { Complaint } from "../control/protocol.ts";

/** More of them help nobody, and a program may log such lines for ever. */
const mostComplaints = 200;
const longest = 500;

/** Finds in the lines of one child what it runs without; each `what` once, and once more when only a later line has the reason. */
export function createComplaints(patterns: readonly string[]): (line: string) => Complaint | undefined {
  const expressions = patterns.map((pattern) => new RegExp(pattern));
  const told = new Map<string, boolean>();
  return (line) => {
    if (told.size >= mostComplaints) return undefined;
    for (const expression of expressions) {
      const groups = expression.exec(line)?.groups;
      const what = groups?.["what"]?.trim().slice(0, longest);
      if (!what) continue;
      const why = groups?.["why"]?.trim().slice(0, longest);
      const known = told.get(what);
      if (known !== undefined && (known || !why)) return undefined;
      told.set(what, Boolean(why));
      return { what, ...(why && { why }) };
    }
    return undefined;
  };
}

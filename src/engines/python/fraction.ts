/** Keys under which handlers write how far they are. */
const keys = ["fraction", "progress", "percent", "percentage", "pct"];

/** How far a handler's report says that it is, 0..1; undefined when it cannot be read out of it. Reports are free in form. */
export function fractionOf(note: unknown): number | undefined {
  if (typeof note === "number") return note >= 0 && note <= 1 ? note : note > 1 && note <= 100 ? note / 100 : undefined;
  if (typeof note === "string") return fromText(note);
  if (typeof note !== "object" || note === null) return undefined;
  const report = note as Record<string, unknown>;
  for (const key of keys) {
    const found = Object.hasOwn(report, key) ? fractionOf(report[key]) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** `Update 3/10`, `30 %`. */
function fromText(text: string): number | undefined {
  const [, done, all] = /(\d+)\s*\/\s*(\d+)/.exec(text) ?? [];
  if (done !== undefined && Number(all) > 0 && Number(done) <= Number(all)) return Number(done) / Number(all);
  const percent = /(\d+(?:\.\d+)?)\s*%/.exec(text)?.[1];
  return percent !== undefined && Number(percent) <= 100 ? Number(percent) / 100 : undefined;
}

import leven from "leven";

const mostNamed = 5;
const longestCompared = 200;

/** What exists instead, as a hint: `nearest: "a", "b"`, all of them when they are few; `otherwise` when nothing is near. */
export function nearest(value: string, known: readonly string[], otherwise: string): string {
  const key = (text: string) => text.toLowerCase().slice(0, longestCompared);
  const sorted = known.map((one) => [leven(key(value), key(one)), one] as const).sort(([a], [b]) => a - b);
  const all = known.length <= mostNamed;
  const close = all ? sorted : sorted.filter(([distance], index) => index < 3 && distance <= Math.max(3, value.length * 0.6));
  const names = close.map(([, one]) => `"${one}"`).join(", ");
  if (!names) return otherwise || `${known.length} others exist`;
  return all ? `there is ${names}` : `nearest: ${names}`;
}

const noneAtAll = "this server has none at all";

/** For a choice of an input: what this server has. */
export function nearestChoice(value: string, options: readonly unknown[]): string {
  return options.length === 0 ? noneAtAll : nearest(value, options.map(String), "");
}

/** A few of a choice's values, where none was given. */
export function examples(options: readonly unknown[]): string {
  if (options.length === 0) return noneAtAll;
  const some = options.slice(0, mostNamed).map((one) => `"${shorten(String(one))}"`);
  return `one of ${some.join(", ")}${options.length > mostNamed ? ", …" : ""}`;
}

export function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

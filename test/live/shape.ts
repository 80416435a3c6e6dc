/** The shape of a JSON value as lines "path: type"; a list has the shape of its first element. JSON strings in `info` are looked into. */
export function shapeOf(value: unknown, path = ""): Map<string, string> {
  const lines = new Map<string, string>();
  const add = (at: string, one: unknown): void => {
    lines.set(at, nameOf(one));
    if (Array.isArray(one)) {
      if (one.length > 0) add(`${at}[]`, one[0]);
    } else if (typeof one === "object" && one !== null) {
      for (const [key, inner] of Object.entries(one)) add(at === "" ? key : `${at}.${key}`, inner);
    }
  };
  add(path, value);
  const info = typeof value === "object" && value !== null && "info" in value && typeof value.info === "string" ? parsed(value.info) : undefined;
  if (info !== undefined) add("info", info);
  return lines;
}

export interface Difference {
  readonly path: string;
  /** Undefined: this side lacks it. */
  readonly real: string | undefined;
  readonly bundled: string | undefined;
}

/** What two values do not share, keys in order. Null beside another type is no difference: the engines leave different fields empty. */
export function differences(real: unknown, bundled: unknown): Difference[] {
  const [left, right] = [shapeOf(real), shapeOf(bundled)];
  return [...new Set([...left.keys(), ...right.keys()])].flatMap((path) => {
    const difference = { path, real: left.get(path), bundled: right.get(path) };
    const { real: one, bundled: other } = difference;
    return one === other || (one !== undefined && other !== undefined && (one === "null" || other === "null")) ? [] : [difference];
  });
}

/** Where the bundled engine falls short: a client of the real one would miss this. */
export const isLacking = ({ real, bundled }: Difference): boolean => real !== undefined && real !== "null" && real !== bundled;

function nameOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "list" : typeof value;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

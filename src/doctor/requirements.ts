export interface Requirement {
  /** Lower case, with dashes, as distributions are compared. */
  readonly name: string;
  /** Only of `==`. */
  readonly version?: string;
  /** Marked so by a comment. */
  readonly optional: boolean;
}

/** The names of a requirements file. Markers are not evaluated: of several lines for one name the first counts. URLs and options are left out. */
export function parseRequirements(text: string): readonly Requirement[] {
  const found = new Map<string, Requirement>();
  for (const line of text.split("\n")) {
    const match = /^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:==\s*([\w.+!-]+))?/.exec(line.trim());
    if (!match?.[1] || line.includes("://")) continue;
    const name = match[1].toLowerCase().replace(/[-_.]+/g, "-");
    if (!found.has(name)) found.set(name, { name, ...(match[2] !== undefined && { version: match[2] }), optional: /#.*\boptional\b/.test(line) });
  }
  return [...found.values()];
}

/** Is `installed` of an older major version than `made`? Before 1.0 the second number is the one that breaks things. */
export function olderMajor(installed: string | undefined, made: string | undefined): boolean {
  if (installed === undefined || made === undefined) return false;
  const [a = 0, b = 0] = numbers(installed);
  const [x = 0, y = 0] = numbers(made);
  return a < x || (a === 0 && x === 0 && b < y);
}

const numbers = (version: string): number[] => version.split(/[.+]/).map((part) => Number.parseInt(part, 10) || 0);

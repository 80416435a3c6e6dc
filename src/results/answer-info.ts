/** What an answer's `info` says of its images. A1111 writes it as a text that holds JSON. */
export interface AnswerInfo {
  /** The generation parameters of each image, as A1111 shows them. */
  readonly infotexts: readonly string[];
  /** The first image's seed with all its digits: it may be larger than a JavaScript number holds. */
  readonly seed?: string;
}

/** Reads the raw JSON of `info`; what cannot be read is not there. */
export function parseInfo(raw: string | undefined): AnswerInfo {
  try {
    const outer: unknown = raw === undefined ? undefined : JSON.parse(raw);
    const text = typeof outer === "string" ? outer : (raw ?? "{}");
    const inner = (typeof outer === "string" ? JSON.parse(outer) : outer) as { infotexts?: unknown } | null | undefined;
    const listed: readonly unknown[] = Array.isArray(inner?.infotexts) ? inner.infotexts : [];
    const seed = /"(?:seed|all_seeds)"\s*:\s*\[?\s*(-?\d{1,20})\b/.exec(text)?.[1];
    return { infotexts: listed.map((one) => (typeof one === "string" ? one : "")), ...(seed !== undefined && { seed }) };
  } catch {
    return { infotexts: [] };
  }
}

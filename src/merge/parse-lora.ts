/** A LoRA as `--lora` takes it: its source, and what stands after it. Strengths as in `LoraRequest`. */
export interface LoraText {
  readonly source: string;
  readonly scale: number;
  readonly unet?: number;
  readonly te?: number;
  readonly te1?: number;
  readonly te2?: number;
  /** Block weights in A1111's notation, still text. */
  readonly blocks?: string;
  readonly sha256?: string;
}

const suffix = /:(?:(-?\d+(?:\.\d+)?)|(unet|te|te1|te2|lbw|sha256)=([^:]*))$/;

/**
 * `SOURCE`, `SOURCE:0.8`, `SOURCE:unet=0.8:te=0.4:lbw=1,0,…`. A source may have colons of its own: `civitai:123` is a source,
 * `civitai:123:0.8` one with a scale. Default 1.
 */
export function parseLora(text: string): LoraText {
  let source = text;
  let scale: number | undefined;
  const named = new Map<string, string>();
  for (let match = suffix.exec(source); match; match = suffix.exec(source)) {
    const rest = source.slice(0, match.index);
    if (rest === "" || rest === "civitai" || /^[a-z]+:\/\/[^/]*$/i.test(rest)) break;
    if (match[1] === undefined) named.set(match[2] ?? "", match[3] ?? "");
    else if (scale === undefined) scale = Number(match[1]);
    else break;
    source = rest;
  }
  const numbers = (["unet", "te", "te1", "te2"] as const).flatMap((key) => (named.has(key) ? [[key, Number(named.get(key) || "NaN")] as const] : []));
  const blocks = named.get("lbw");
  const sha256 = named.get("sha256");
  return { source, scale: scale ?? 1, ...Object.fromEntries(numbers), ...(blocks !== undefined && { blocks }), ...(sha256 !== undefined && { sha256 }) };
}

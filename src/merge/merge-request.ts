// merge/ owns fusing LoRAs into checkpoints: a recipe (templates.json) or flags → requests → the bundled Python helper → merged files.
// Takes: paths and strengths. Gives: a report for each merge. Must not know engines, jobs or where models are downloaded from.
// The arithmetic lives in helper/*.py (numpy only); this side checks the request, starts it and reads its lines.

export interface LoraRequest {
  readonly path: string;
  /** Strength on the UNet; 0 leaves it alone. */
  readonly unet: number;
  /** Strength on the text encoders. */
  readonly te: number;
}

/** One output file. */
export interface MergeRequest {
  /** The template's name, or the output's file name. */
  readonly name: string;
  readonly base: string;
  readonly loras: readonly LoraRequest[];
  readonly out: string;
}

/** How far a LoRA matched its base. */
export interface Coverage {
  readonly lora: string;
  /** Modules that found their weight, by part: unet, te1, te2. */
  readonly matched: Readonly<Record<string, number>>;
  readonly unmatched: number;
  readonly firstUnmatched: readonly string[];
  readonly skipped: readonly string[];
}

export interface MergeReport {
  readonly name: string;
  readonly out: string;
  /** False for a dry run. */
  readonly written: boolean;
  readonly tensors: number;
  readonly changedTensors: number;
  readonly sizeBytes: number;
  readonly afterMs?: number;
  /** Of each input, by path. */
  readonly sha256?: Readonly<Record<string, string>>;
  readonly coverage: readonly Coverage[];
}

/** `FILE` or `FILE:SCALE`; the scale is what stands after the last colon, if that is a number. Default 1. */
export function parseLora(text: string): { readonly path: string; readonly scale: number } {
  const match = /^(.+):(-?\d+(?:\.\d+)?)$/s.exec(text);
  return match?.[1] === undefined ? { path: text, scale: 1 } : { path: match[1], scale: Number(match[2]) };
}

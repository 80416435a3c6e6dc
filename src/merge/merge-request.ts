// merge/ owns fusing LoRAs into checkpoints: a recipe (templates.json) or flags → requests → the bundled Python helper → merged files.
// Takes: paths and strengths. Gives: a report for each merge. Must not know engines, jobs or where models are downloaded from.
// The arithmetic lives in helper/*.py (numpy only); this side checks the request, starts it and reads its lines.

export interface LoraRequest {
  readonly path: string;
  /** Strength on the UNet; 0 leaves it alone. */
  readonly unet: number;
  /** Strength on the text encoders. */
  readonly te: number;
  /** Strength on one text encoder, where it differs from `te`. */
  readonly te1?: number;
  readonly te2?: number;
  readonly te3?: number;
  /** Factors on blocks of the UNet, on top of `unet`: `in00`..`in11`, `mid`, `out00`..`out11`. A block that is not named keeps 1. */
  readonly blocks?: Readonly<Record<string, number>>;
}

export type OutputFormat = "single" | "diffusers";
export type OutputDtype = "keep" | "fp16" | "bf16" | "fp32";

/** One output file. */
export interface MergeRequest {
  /** The template's name, or the output's file name. */
  readonly name: string;
  readonly base: string;
  readonly loras: readonly LoraRequest[];
  readonly out: string;
  /** Default single: the input's layout. */
  readonly format?: OutputFormat;
  /** Default keep: each tensor's own. */
  readonly dtype?: OutputDtype;
  /** A VAE that takes the place of the base's. */
  readonly vae?: string;
  /**
   * Stands for sources, strengths and settings (sha256, hex). The helper writes it into the output's metadata as `fettle.recipe`, beside
   * `fettle.merge` with the inputs' own hashes; for a diffusers folder both stand in `fettle.json` at its root too.
   * The front reads them back: an output with the same recipe is not made again.
   */
  readonly recipe?: string;
  /** Hashes that are known already, by path; the helper computes the others while it works. */
  readonly sha256?: Readonly<Record<string, string>>;
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
  /** True: an output of this very recipe was there, nothing was done. */
  readonly upToDate?: boolean;
  /** What `--verify` looked at after the merge. */
  readonly verified?: Readonly<Record<string, unknown>>;
}

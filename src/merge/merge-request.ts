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
  /**
   * Factors on blocks, on top of `unet`: `in00`..`in11`, `mid`, `out00`..`out11`, `base` (text encoders, and what lies in no block). A block that is
   * not named keeps 1. Or a list as A1111's extension orders it: 12 or 20 numbers (SDXL), 17 or 26 (SD 1.5), 61 (Flux); what has no place in it is 0.
   */
  readonly blocks?: Readonly<Record<string, number>> | readonly number[];
}

export type OutputFormat = "single" | "diffusers";
/** fp8 is for storage: only the matrices of the UNet or transformer become fp8. */
export type OutputDtype = "keep" | "fp16" | "bf16" | "fp32" | "fp8_e4m3fn" | "fp8_e5m2";

/**
 * One output. The helper (helper/request.py) takes this as JSON, its one argument (or on stdin, when that is "-"), with the run's own settings
 * beside it (HelperSettings). Only base and out must be there; the same request gives the same bytes. docs/merge.md explains the arithmetic.
 */
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
  /** Hashes that are known already, by path; the helper computes those of files below 1 GiB, and a fingerprint of larger ones. */
  readonly sha256?: Readonly<Record<string, string>>;
  /** Sum of checkpoints: W = baseWeight · base + Σ weight · T. A weighted sum has weights that make 1; "add difference" A + m·(B − C) is { m, −m }. */
  readonly baseWeight?: number;
  readonly terms?: readonly { readonly path: string; readonly weight: number }[];
  /** In the file names of a directory, and which files of a directory are read. Default: fp16 when `dtype` is fp16, else none. */
  readonly variant?: string | null;
  /** A directory's component is cut into several files above this; default 10 GB. */
  readonly shardBytes?: number;
  /**
   * Configs and tokenizers for a directory made of a single file, and for Flux and SD3 the weights of the components that it lacks; default: the folder
   * beside it that has its name, else what is known of the published models.
   */
  readonly configDir?: string;
  /** `modelspec.title`; default: the inputs' names joined. */
  readonly title?: string;
}

/** How the helper works; nothing of it changes the output's bytes, except that `allowUnmatched` lets modules fall away. */
export interface HelperSettings {
  readonly allowUnmatched?: boolean;
  /** Checks and plans everything, writes nothing; the plan has `estimateMs`. */
  readonly dryRun?: boolean;
  /** Reads the output again before it gets its name: NaN and inf, and sampled rows computed anew. */
  readonly verify?: boolean;
  /** Writes even when the same request's output is there already. */
  readonly force?: boolean;
  /** Default true: the bytes are on the disk before the output gets its name. */
  readonly sync?: boolean;
  /** sha256 of inputs of any size. */
  readonly hashInputs?: boolean;
  /** Threads that compute; default 2. */
  readonly threads?: number;
  /** Default auto: machine code for the conversions where this machine allows it, else numpy. */
  readonly kernel?: "auto" | "native" | "numpy";
}

/** One line of the helper's stdout. */
export type HelperLine =
  | {
      readonly type: "plan";
      /** SD 1.5, SD 2, SDXL, SDXL refiner, Flux, SD3 or unknown; by shapes. */
      readonly kind: string;
      readonly tensors: number;
      readonly changed: number;
      readonly sizeBytes: number;
      readonly touchedBytes: number;
      readonly kernel: "native" | "numpy";
      /** Tensors of a single file that a diffusers directory has no place for; before them the components of the pipeline that are nowhere. */
      readonly leftOut: readonly string[];
      /** Tensors of a sum that another checkpoint lacks: they stay the base's own. */
      readonly alone: number;
      readonly files: readonly string[];
      readonly coverage: readonly Coverage[];
      /** A dry run's guess at the time. */
      readonly estimateMs?: number;
    }
  | { readonly type: "progress"; readonly doneBytes: number; readonly totalBytes: number }
  | {
      readonly type: "done";
      readonly out: string;
      readonly sizeBytes: number;
      readonly afterMs: number;
      /** True when the same request's output was there already. */
      readonly upToDate?: boolean;
      /** Each input's file name and sha256 or fingerprint, by path. */
      readonly inputs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
      readonly sha256: Readonly<Record<string, string>>;
      readonly verified?: {
        readonly tensors: number;
        /** Tensors with NaN or inf, which the base had before. */
        readonly notFinite: readonly string[];
        readonly sampledRows: number;
        /** The largest difference, in steps of the output's dtype; above 1 is an error. */
        readonly worstSteps: number;
      };
    }
  | {
      readonly type: "error";
      readonly code?: HelperErrorCode;
      readonly reason: string;
      readonly hint?: string | null;
      /** A Python package that is not there. */
      readonly missing?: string;
      readonly details?: Readonly<Record<string, unknown>>;
    };

/** The codes that the helper's refusals have (helper/refusal.py). */
export const helperErrorCodes = [
  "merge.failed",
  "merge.invalid-recipe",
  "merge.invalid-input",
  "merge.no-match",
  "merge.no-space",
  "merge.unwritable",
  "merge.unsafe-pickle",
  "merge.verify-failed",
  "merge.interrupted",
] as const;
export type HelperErrorCode = (typeof helperErrorCodes)[number];

/** How far a LoRA matched its base. */
export interface Coverage {
  readonly lora: string;
  /** Modules that found their weight, by part: unet, te1, te2. */
  readonly matched: Readonly<Record<string, number>>;
  /** Modules by type: LoRA, LoCon, LoHa, LoKr, "DoRA on LoRA" … */
  readonly types?: Readonly<Record<string, number>>;
  readonly unmatched: number;
  readonly firstUnmatched: readonly string[];
  readonly skipped: readonly string[];
  /** Matched modules whose strength or alpha is 0. */
  readonly idle?: number;
  /** What the user should know. */
  readonly note?: string;
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
  /** What a folder made of a single file lacks: tensors that have no place there, and components that are not in the file. */
  readonly leftOut?: readonly string[];
  /** True: an output of this very recipe was there, nothing was done. */
  readonly upToDate?: boolean;
  /** Of a dry run. */
  readonly estimateMs?: number;
  /** A dry run fetches nothing: these are missing, and what they would change is not known yet. */
  readonly toFetch?: readonly { readonly source: string; readonly sizeBytes: number }[];
  /** What `--verify` looked at after the merge. */
  readonly verified?: Readonly<Record<string, unknown>>;
}

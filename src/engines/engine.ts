// engines/ owns how each kind of engine is launched and spoken to. Takes: its part of the config; then single jobs.
// Gives: services for the plan (pure) and an `Engine` connection. Must not know sources, the pool's choice or the journal.
// A new kind is a folder with an `EngineKind` and a row in engines/index.ts.
import type { Launcher } from "../plan/launch.ts";

/** One try of a job on an engine. `dir` is an empty folder for spooled files; the caller owns and removes it. */
export interface Attempt {
  readonly id: string;
  readonly jobId: string;
  /** The job's input in the dialect of this kind of engine, checked to be a JSON object. */
  readonly input: Readonly<Record<string, unknown>>;
  /** Which of the engine's calls it is for, such as `POST /sdapi/v1/img2img`; undefined: the connection decides by the input. */
  readonly call?: string;
  /** False: this call answers with any JSON, not with `images`. Default true. */
  readonly answersImages?: boolean;
  /** Other keys of the envelope (webhook, policy …), for engines whose code sees the whole job. */
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly dir: string;
}

/** A file made by an engine: spooled to disk, never held whole as a string. */
export interface Artifact {
  readonly path: string;
  readonly mime: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface Progress {
  /** 0..1 */
  readonly fraction: number;
  readonly step?: number;
  readonly steps?: number;
  readonly etaMs?: number;
  /** The picture as it stands now; only when the run asked for previews. */
  readonly preview?: Preview;
  /** What the user's own code reported (`progress_update`), passed on as it is. */
  readonly note?: unknown;
}

export interface Preview {
  readonly mime: string;
  readonly base64: string;
}

/** An image found in an answer, checked while it streamed by. */
export interface AnswerImage {
  readonly index: number;
  readonly mime: string;
  readonly sizeBytes: number;
  readonly width: number;
  readonly height: number;
  /** The decoded file, only when the reader was told to keep images (a sink wants them). */
  readonly path?: string;
}

/** What an engine gives back: its answer, untouched, as a JSON file (of 0 bytes: there is no output); and the images found in it. */
export interface EngineOutput {
  readonly answer: Artifact;
  readonly images: readonly AnswerImage[];
  /** What did not stop the job but should be said, such as a black image under `blackImages: warn`. */
  readonly warnings: readonly string[];
  /** The user's own code asked for a fresh worker after this job (`refresh_worker`). */
  readonly wantsRefresh?: boolean;
}

/**
 * Reads one answer while it arrives: spools it to disk, checks it, finds its images. `results/` implements it
 * (`createAnswerReader`), the worker passes it in, so that a connector moves bytes and knows nothing of images.
 */
export interface AnswerReader {
  /** Resolves when the next chunk may come; false when the answer is already known to be bad and reading on is pointless. */
  write(chunk: Uint8Array): Promise<boolean>;
  /** The verdict on the whole answer. */
  end(): Promise<AnswerVerdict>;
  /** The answer broke off or is not wanted: closes and removes what was spooled. Harmless after `end`. */
  discard(): Promise<void>;
}

export type AnswerVerdict =
  | { readonly type: "good"; readonly output: EngineOutput }
  | {
      readonly type: "bad";
      readonly code: "engine.bad-answer" | "result.bad-image";
      readonly message: string;
      readonly details?: Readonly<Record<string, unknown>>;
    };

/** An attempt's ending. A failure is a value; `retryable` says whether the same job may succeed on a second try. */
export type AttemptResult =
  | {
      readonly type: "done";
      readonly output: EngineOutput;
      readonly engineMs: number;
      /** How many jobs shared the engine's call. */
      readonly batch?: number;
      /** What the response cache made of it: `hit`, no engine worked; `miss`, it could not be kept. */
      readonly cache?: "hit" | "miss" | "stored";
    }
  | {
      readonly type: "failed";
      readonly code: EngineFailureCode;
      readonly message: string;
      readonly retryable: boolean;
      readonly details?: Readonly<Record<string, unknown>>;
      /** What must happen before a second try can help. */
      readonly remedy?: Remedy;
      /** The error word for word as the caller shall get it, instead of code and message (a handler's own error). */
      readonly text?: string;
      /** What there is in spite of the failure; it goes beside the error. */
      readonly output?: EngineOutput;
    }
  /** `remedy`: the engine did not let go of the job in time. */
  | { readonly type: "cancelled"; readonly remedy?: Remedy };

/** `free-memory`: out of memory, drop models and caches. `restart`: the process cannot be trusted any more (sticky CUDA error, no reaction). */
export type Remedy = "free-memory" | "restart";

export type EngineFailureCode =
  | "engine.unreachable"
  | "engine.lost"
  | "engine.timeout"
  | "engine.rejected"
  | "engine.failed"
  | "engine.out-of-memory"
  | "engine.cuda-error"
  | "engine.stalled"
  | "handler.failed"
  | "engine.bad-answer"
  | "result.bad-image"
  | "result.cannot-store"
  | "job.invalid";

export interface RunOptions {
  /** Aborting interrupts the job on the engine; `run` then resolves with `cancelled` once the engine let go of it. */
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  /** Something moved that is no progress, such as bytes of the answer, or the job before ours in the engine's own queue. */
  readonly onActivity?: () => void;
  /** Asked before each look at the progress: whether somebody wants a preview with it now; they cost the engine a decode each. */
  readonly wantsPreviews?: () => boolean;
  /** A piece of the output before its end (a generator's yield); the run goes on when it resolves. */
  readonly onPartial?: (value: unknown) => Promise<void>;
  /** The output comes in pieces, though there may be none. */
  readonly onStream?: () => void;
}

export interface Engine {
  readonly name: string;
  readonly kind: string;
  /** Fixed, unless there is a `watchSlots`. */
  readonly slots: number;
  /** Calls back after each change of `slots`. */
  watchSlots?(watcher: () => void): void;
  /** Reports the progress of each job without being told to by it, so that silence means something. Default: no. */
  readonly tellsProgress?: boolean;
  /** True when it answers its readiness request now. */
  isReady(options: { signal: AbortSignal }): Promise<boolean>;
  run(attempt: Attempt, options: RunOptions): Promise<AttemptResult>;
  /** Ends work of a former life of this worker that still occupies the engine, and waits until it is idle. */
  settle(options: { signal: AbortSignal }): Promise<void>;
  /** Drops what it can from memory (models, caches) between two jobs; left out where the engine has no way to be told. */
  freeMemory?(options: { signal: AbortSignal }): Promise<void>;
  /** Makes a fresh process quick before its first job; left out: nothing has to be done. Throws why it could not. */
  warmUp?(options: { signal: AbortSignal }): Promise<void>;
  /** Attempts with the same key may share a call (`runBatch`); undefined: this one may not. */
  batchKey?(attempt: Attempt): string | undefined;
  /** One result for each attempt, in order. `one-by-one`: the engine refuses them together, each must be run alone. */
  runBatch?(attempts: readonly Attempt[], options: RunOptions): Promise<readonly AttemptResult[] | "one-by-one">;
  /** What besides the input decides this attempt's answer (model, options), as a digest; undefined: equal inputs need not give equal answers. */
  answerKey?(attempt: Attempt, options: { signal: AbortSignal }): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface Endpoint {
  readonly name: string;
  readonly url: string;
  readonly slots: number;
  /** What the kind's launcher gave as `settings`. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface ConnectOptions {
  /** One whole request to the engine may take this long (seed: 600 s). */
  readonly timeoutMs: number;
  readonly retry: { readonly tries: number; readonly backoffMs: number };
  /** After an interrupt the engine may take this long to let go of a job. Default 20 s. */
  readonly letGoMs?: number;
  /** The same while it still loads a model, which no engine can break off. Default 10 min. */
  readonly loadingMs?: number;
  /** Whose prompts these are, the same in each life of a worker: an engine's queue keeps them when the worker dies. */
  readonly owner?: string;
  /** Begins reading an answer of this attempt into `attempt.dir`. */
  readAnswer(attempt: Attempt): Promise<AnswerReader>;
}

/** Both halves of a kind: `launch` runs before the plan and is pure, `connect` speaks with what runs. */
export interface EngineKind<Options = unknown> extends Launcher<Options> {
  readonly kind: string;
  connect(endpoint: Endpoint, options: ConnectOptions): Engine;
}

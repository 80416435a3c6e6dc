export type TerminalStatus = "COMPLETED" | "FAILED" | "CANCELLED";

/**
 * A job's one terminal result, fixed on disk before it is first sent, so that each repeat is byte-identical.
 * `bodyPath` holds the JSON body `{"output": …}` or `{"error": "…"}`.
 */
export interface TerminalResult {
  readonly jobId: string;
  readonly status: TerminalStatus;
  readonly bodyPath: string;
  readonly sizeBytes: number;
  /** The error's code when it did not complete. */
  readonly code?: string;
  /** The field or node that the error is about, such as `input.steps`. */
  readonly errorPath?: string;
  /** Waited before the engine had it, and spent on it; ms. */
  readonly delayMs: number;
  readonly executionMs: number;
  /** The worker shall be renewed after this job (RunPod's `stopPod`). */
  readonly wantsRefresh?: boolean;
}

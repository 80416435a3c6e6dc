// jobs/ owns a job's life from a source to its terminal result: lease, pool, attempt, retry, journal, delivery.
// Takes: sources and engines. Gives: one terminal result per job, delivered at least once. Must not know processes or YAML.

/** A job as it was handed to us. `input` is whatever JSON the caller sent; it is checked before an engine sees it. */
export interface JobInput {
  /** The caller's id; unique within its source. */
  readonly id: string;
  readonly source: string;
  readonly input: unknown;
  /** Other keys of the envelope (webhook, policy, s3Config …), kept untouched. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** Wall clock, ms since the epoch. */
  readonly receivedAt: number;
  /** Why it must not reach an engine, found while its envelope was read; such a job fails at once. */
  readonly fault?: JobFault;
}

/** What is wrong with a job, as every transport says it. */
export interface JobFault {
  readonly code: "job.invalid" | "job.too-large";
  readonly message: string;
  readonly hint?: string;
  /** The field, such as `input` or `input.steps`. */
  readonly path?: string;
}

/** One image of a result, in a file of its own. */
export interface Picture {
  /** Its place in the answer. */
  readonly index: number;
  readonly path: string;
  readonly mime: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly width: number;
  readonly height: number;
}

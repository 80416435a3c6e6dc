/** A file of a result that is no picture: a video, a sound, a mesh, a text. */
export interface StoredFile {
  /** Its place in the answer. */
  readonly index: number;
  readonly path: string;
  readonly mime: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Of its name, where its type alone does not tell. */
  readonly ext?: string;
}

/** One image of a result, in a file of its own. */
export interface Picture extends StoredFile {
  readonly width: number;
  readonly height: number;
}

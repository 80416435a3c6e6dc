import { type FileHandle, open } from "node:fs/promises";

/** A job that yields more than this has its further pieces only in its result. */
const mostBytes = 256_000_000;
/** One request hands out about as much; a single larger piece goes as a whole. */
const partBytes = 2_000_000;
/** The file begins with how far it was handed out: digits, blanks and a line end. */
const headBytes = 16;

/**
 * Pieces of streaming jobs' outputs, each a line of JSON in a file beside the result: memory stays flat whoever reads or does not,
 * a piece is handed out once, and what was not handed out before a crash is handed out after it.
 */
export class HttpStreams {
  readonly #pathOf: (key: number) => string;
  readonly #turns = new Map<number, Promise<unknown>>();
  readonly #sizes = new Map<number, number>();

  constructor(pathOf: (key: number) => string) {
    this.#pathOf = pathOf;
  }

  /** False: the job has yielded too much, and this piece was left out. */
  append(key: number, value: unknown): Promise<boolean> {
    return this.#inTurn(key, async () => {
      const line = Buffer.from(`${JSON.stringify(value) ?? "null"}\n`);
      const size = this.#sizes.get(key) ?? (await sizeOf(this.#pathOf(key)));
      if (size + line.length > mostBytes) return false;
      await using file = await open(this.#pathOf(key), "a+", 0o600);
      if (size === 0) await file.appendFile(head(headBytes));
      await file.appendFile(line);
      this.#sizes.set(key, Math.max(size, headBytes) + line.length);
      return true;
    });
  }

  /** The next pieces, as JSON text; none when there are none yet, or the job does not stream. */
  take(key: number): Promise<readonly string[]> {
    return this.#inTurn(key, async () => {
      const path = this.#pathOf(key);
      // Not created here: most jobs do not stream.
      if ((await sizeOf(path)) <= headBytes) return [];
      await using file = await open(path, "r+");
      const begin = Number((await readAt(file, 0, headBytes)).toString("latin1")) || headBytes;
      const bytes = await readLines(file, begin);
      if (bytes.length === 0) return [];
      await file.write(head(begin + bytes.length), 0);
      return bytes.toString("utf8").trimEnd().split("\n");
    });
  }

  /** The job has ended: nothing more comes. */
  forget(key: number): void {
    this.#sizes.delete(key);
  }

  async #inTurn<T>(key: number, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(key) ?? Promise.resolve();
    const turn = before.catch(() => {}).then(work);
    this.#turns.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    }
  }
}

const head = (at: number): string => `${String(at).padEnd(headBytes - 1)}\n`;

async function sizeOf(path: string): Promise<number> {
  try {
    await using file = await open(path, "r");
    return (await file.stat()).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return 0;
    throw error;
  }
}

/** Whole lines from there on, about `partBytes` of them and at least one. */
async function readLines(file: FileHandle, begin: number): Promise<Buffer> {
  for (let bytes = partBytes; ; bytes *= 4) {
    const part = await readAt(file, begin, bytes);
    const end = part.lastIndexOf(10);
    if (end >= 0) return part.subarray(0, end + 1);
    if (part.length < bytes) return Buffer.alloc(0);
  }
}

async function readAt(file: FileHandle, at: number, bytes: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(bytes), 0, bytes, at);
  return buffer.subarray(0, bytesRead);
}

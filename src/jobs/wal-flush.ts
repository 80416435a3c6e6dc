import { type FileHandle, open } from "node:fs/promises";

/**
 * Makes commits durable off the event loop. SQLite's own wait for the disk (synchronous = FULL) is a call that holds the loop: with
 * results of 15 MB being written beside it, up to 90 ms were seen. In WAL mode a commit is durable once the WAL file is on the disk,
 * whoever asks for that; so it is committed at once, which survives a killed process, and flushed here, one flush for all that wait.
 */
export class WalFlush {
  readonly #path: string;
  #file: FileHandle | undefined;
  #promised = 0;
  #flushed = 0;
  #running: Promise<void> | undefined;

  constructor(databasePath: string) {
    this.#path = `${databasePath}-wal`;
  }

  /** Something was committed that nobody may be told of before it is on the disk. */
  promise(): void {
    this.#promised += 1;
  }

  /** Resolves when everything promised until now is on the disk; rejects when the disk says no. */
  async settled(): Promise<void> {
    const wanted = this.#promised;
    while (this.#flushed < wanted) await (this.#running ??= this.#flush());
  }

  async close(): Promise<void> {
    await this.#running?.catch(() => {});
    await this.#file?.close();
    this.#file = undefined;
  }

  async #flush(): Promise<void> {
    const covered = this.#promised;
    try {
      this.#file ??= await open(this.#path, "r");
      await this.#file.datasync();
      this.#flushed = Math.max(this.#flushed, covered);
    } finally {
      this.#running = undefined;
    }
  }
}

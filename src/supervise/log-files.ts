import { LogFile, type LogFileOptions } from "./log-file.ts";

/** Every log file that is open, once each: services that name the same path write into it in turn. */
export class LogFiles {
  readonly #open = new Map<string, { readonly file: LogFile; users: number }>();

  /** Give it back with `release`. */
  use(path: string, options: LogFileOptions): LogFile {
    const known = this.#open.get(path);
    if (known) {
      known.users++;
      return known.file;
    }
    const file = new LogFile(path, options);
    this.#open.set(path, { file, users: 1 });
    return file;
  }

  /** Resolves when everything given so far is in the file; the last user closes it. */
  async release(file: LogFile): Promise<void> {
    const known = this.#open.get(file.path);
    if (known?.file !== file || --known.users > 0) return await file.flush();
    this.#open.delete(file.path);
    await file.close();
  }

  /** Somebody has moved files away (logrotate): each goes on in a new one of its old name. Returns how many. */
  reopen(): number {
    for (const { file } of this.#open.values()) file.reopen();
    return this.#open.size;
  }
}

// init/ owns what an init must do and JavaScript cannot: reap orphans without stealing a child's exit code, adopt them, and
// give children the limits that fettle itself was given. Takes: two or three calls of the C library, by the FFI of the runtime.
// Gives: an `Init` to the supervisor, or one that does nothing where there is no FFI (Node). Must not know services.

/** The calls that the runtimes do not offer. Each answers whether it worked. */
export interface Libc {
  /** waitpid(pid, NULL, WNOHANG): takes the exit status of a zombie child off the table. */
  reap(pid: number): boolean;
  /** From now on orphans below this process become its children, as they would of PID 1. */
  becomeSubreaper(): boolean;
  /** Sets the soft limit on open files. */
  setSoftFileLimit(soft: number, hard: number): boolean;
  /** Takes clean pages of a file out of this process's memory; what is touched again comes back by itself. */
  releasePages(start: number, sizeBytes: number): boolean;
}

/** How a runtime calls C: i32 for int, u64 for unsigned long, bytes for a pointer that the call reads, nothing for NULL. */
export interface RawLibc {
  waitpid(pid: number, status: null, options: number): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  setrlimit(resource: number, limit: Uint8Array<ArrayBuffer>): number;
  madvise(start: number, sizeBytes: number, advice: number): number;
}

const wnohang = 1;
const prSetChildSubreaper = 36;
const rlimitNofile = 7;
const madvDontneed = 4;

/** No out-value is ever passed: on Bun a pointer to a small typed array goes stale when the code around it is compiled anew. */
export async function openLibc(): Promise<Libc | undefined> {
  const raw = await openRaw();
  if (!raw) return undefined;
  return {
    reap: (pid) => raw.waitpid(pid, null, wnohang) === pid,
    becomeSubreaper: () => raw.prctl(prSetChildSubreaper, 1, 0, 0, 0) === 0,
    setSoftFileLimit: (soft, hard) => raw.setrlimit(rlimitNofile, new Uint8Array(BigUint64Array.of(BigInt(soft), BigInt(hard)).buffer)) === 0,
    releasePages: (start, sizeBytes) => raw.madvise(start, sizeBytes, madvDontneed) === 0,
  };
}

async function openRaw(): Promise<RawLibc | undefined> {
  if (process.platform !== "linux") return undefined;
  const musl = `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`;
  const open =
    process.versions["bun"] !== undefined
      ? (await import("./libc-bun.ts")).openOnBun
      : process.versions["deno"] !== undefined
        ? (await import("./libc-deno.ts")).openOnDeno
        : undefined;
  for (const name of ["libc.so.6", musl]) {
    try {
      const raw = await open?.(name);
      if (raw) return raw;
    } catch {
      // The other C library's name.
    }
  }
  return undefined;
}

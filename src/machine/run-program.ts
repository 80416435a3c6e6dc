import { execFile } from "node:child_process";

/** What a short program prints on stdout; undefined when it is missing, fails or takes longer than `timeoutMs`. */
export function outputOf(
  argv: readonly [string, ...string[]],
  { timeoutMs = 2000, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<string | undefined> {
  const [program, ...args] = argv;
  return new Promise((resolve) => {
    execFile(program, args, { timeout: timeoutMs, killSignal: "SIGKILL", maxBuffer: 16 * 1024 * 1024, ...(signal && { signal }) }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    );
  });
}

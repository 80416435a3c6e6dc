import type { TerminalResult } from "./terminal-result.ts";

/**
 * An ended job as RunPod shows it, up to its output: `{"id":…,"status":…,"delayTime":…,` The body file `{"output": …}` or
 * `{"error": …}` follows without its first byte, so that nobody has to parse or hold it.
 */
export function headOf(result: TerminalResult, { retries, more = {} }: { retries: number; more?: Readonly<Record<string, unknown>> }): Buffer {
  const facts = {
    id: result.jobId,
    status: result.status,
    delayTime: result.delayMs,
    executionTime: result.executionMs,
    ...(result.code && { errorCode: result.code }),
    ...(result.errorPath && { errorPath: result.errorPath }),
    ...(retries > 0 && { retries }),
    ...more,
  };
  return Buffer.from(`${JSON.stringify(facts).slice(0, -1)},`);
}

import { spawn } from "node:child_process";

export type ProgramResult =
  | { readonly type: "missing" }
  | { readonly type: "cannot-start"; readonly reason: string }
  | { readonly type: "timed-out" }
  | { readonly type: "ended"; readonly code: number | null; readonly stdout: string; readonly stderr: string };

export interface RunOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Default 4 s: under a check's own limit, so that the check can still say which program hung. */
  readonly timeoutMs?: number;
}

/** More output than this is cut; the programs asked here print a few kilobytes. */
const maxBytes = 4 * 1024 * 1024;

/** Runs a short program and gives its ending as a value. On a timeout its whole process group is killed and not waited for. */
export function runProgram(argv: readonly [string, ...string[]], { env, signal, timeoutMs = 4000 }: RunOptions): Promise<ProgramResult> {
  const [program, ...args] = argv;
  return new Promise((resolve) => {
    const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
    const child = spawn(program, args, { env: set, stdio: ["ignore", "pipe", "pipe"], detached: true });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const collect = (into: Buffer[]) => {
      let size = 0;
      return (chunk: Buffer) => {
        size += chunk.length;
        if (size <= maxBytes) into.push(chunk);
      };
    };
    child.stdout.on("data", collect(out));
    child.stderr.on("data", collect(err));
    const end = (result: ProgramResult) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", cut);
      resolve(result);
    };
    const cut = () => {
      if (child.pid !== undefined) killGroup(child.pid);
      // A grandchild in another group may still hold the pipes; without this they would keep fettle alive.
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      end({ type: "timed-out" });
    };
    const timer = setTimeout(cut, timeoutMs);
    signal.addEventListener("abort", cut, { once: true });
    child.once("error", (error: NodeJS.ErrnoException) =>
      end(error.code === "ENOENT" ? { type: "missing" } : { type: "cannot-start", reason: reasonFor(error) }),
    );
    child.once("close", (code) => end({ type: "ended", code, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8") }));
    if (signal.aborted) cut();
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function reasonFor({ code, message }: NodeJS.ErrnoException): string {
  if (code === "EACCES") return "permission denied";
  // The kernel's word for a binary of another architecture.
  return code === "ENOEXEC" ? "it is not a program for this machine" : message;
}

/** Why there is no usable output, in words: for "not checked" and for messages. Undefined when it ended with 0. */
export function troubleOf(program: string, result: ProgramResult): string | undefined {
  switch (result.type) {
    case "missing":
      return `there is no program ${program}`;
    case "cannot-start":
      return `${program} cannot be started: ${result.reason}`;
    case "timed-out":
      return `${program} did not answer in time`;
    case "ended":
      return result.code === 0 ? undefined : `${program} ended with ${result.code ?? "a signal"}${lastLine(result.stderr || result.stdout)}`;
  }
}

function lastLine(text: string): string {
  const line = text.trim().split("\n").at(-1)?.trim().slice(0, 300);
  return line ? `: ${line}` : "";
}

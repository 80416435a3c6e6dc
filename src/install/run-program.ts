import { FettleError } from "../errors/fettle-error.ts";
import { spawnChild } from "../supervise/child.ts";
import { tell } from "../supervise/end-family.ts";
import { LineSplitter } from "../supervise/line-splitter.ts";

export interface RunProgramOptions {
  /** For the error: "Cannot <title>: git ended with 128: …". */
  readonly title: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

const keptLines = 20;

/** Runs a program to its end; anything but exit code 0 is `install.failed` with its last lines. Aborting ends its whole group. */
export async function runProgram(argv: readonly string[], { title, env, cwd, signal, onLine }: RunProgramOptions): Promise<void> {
  const last: string[] = [];
  const splitters = { stdout: split(), stderr: split() };
  function split(): LineSplitter {
    return new LineSplitter((block) => {
      for (const line of block.toString("utf8").split(/[\r\n]+/)) {
        if (line.trim() === "") continue;
        last.push(line);
        if (last.length > keptLines) last.shift();
        onLine(line);
      }
    });
  }
  const spawned = await spawnChild({
    argv,
    ...(cwd !== undefined && { cwd }),
    env: Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)),
    onOutput(stream, chunk) {
      splitters[stream].push(chunk);
      return undefined;
    },
  });
  if (spawned.type === "spawn-failed") throw new FettleError("machine.missing-program", `Cannot ${title}: ${spawned.reason}.`, { hint: `Install ${argv[0]}.` });
  const { child } = spawned;
  const end = () => tell(-child.pid, "SIGTERM");
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const ending = await child.exited;
  signal.removeEventListener("abort", end);
  child.closeOutput();
  splitters.stdout.flush();
  splitters.stderr.flush();
  if (ending.code === 0) return;
  const reason = signal.aborted
    ? "it was interrupted"
    : `${argv[0]} ended with ${ending.code ?? ending.signal}${last.length > 0 ? `: ${tellingLine(last)}` : ""}`;
  throw new FettleError("install.failed", `Cannot ${title}: ${reason.replace(/\.$/, "")}.`, { details: { step: title, lastLines: last } });
}

/** The line that most likely says why: the last one that speaks of an error, else the last. */
function tellingLine(lines: readonly string[]): string {
  return (lines.findLast((line) => /\b(fatal|error)\b/i.test(line)) ?? lines.at(-1) ?? "").trim();
}

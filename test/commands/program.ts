/** Runs fettle as a user does, with folders of its own, and waits for what it says. The engine that it launches is the no-op engine. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createFacts } from "../doubles/facts.ts";
import { noopEngineArgv } from "../doubles/noop-engine.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
const limit = () => ({ signal: AbortSignal.timeout(60_000) });

export interface Program {
  readonly pid: number;
  /** What it printed on stdout so far; whole once it has ended. */
  out(): string;
  /** Resolves with the match of what it said on stderr. */
  untilSaid(pattern: RegExp): Promise<RegExpExecArray>;
  said(): string;
  /** Sends the signal and resolves with the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  readonly ended: Promise<number | null>;
}

export interface Place extends AsyncDisposable {
  readonly dir: string;
  /** Writes `fettle.yaml`: an a1111 engine on a free port that is really the no-op engine, with its flags, and `more` YAML. */
  configure(more?: string, flags?: readonly string[]): string;
  run(args: readonly string[], options?: { env?: Record<string, string | undefined>; input?: string }): Program;
  /** What generate leaves behind in the temporary folder; should be nothing. */
  leftovers(): string[];
}

export function createPlace(): Place {
  const dir = mkdtempSync(join(tmpdir(), "fettle-command-"));
  const temporary = mkdtempSync(join(dir, "tmp-"));
  const programs: Program[] = [];
  return {
    dir,
    configure(more = "", flags = []) {
      // fettle starts `python DIRECTORY/webui.py ARGS`; this python drops the script's name and runs the fixture.
      const python = join(dir, "python");
      writeFileSync(python, `#!/bin/sh\nshift\nexec ${noopEngineArgv(...flags).join(" ")} "$@"\n`);
      chmodSync(python, 0o755);
      const path = join(dir, "fettle.yaml");
      const engine = `{ kind: a1111, port: 0, python: "${python}", directory: "${dir}", announce: Starting WebUI API, allocator: none }`;
      writeFileSync(path, `announce: [Worker Initiated]\nengines: { webui: ${engine} }\nhealth: { enabled: false }\n${more}\n`);
      return path;
    },
    run(args, { env = {}, input } = {}) {
      const folders = { FETTLE_STATE_DIR: join(dir, "state"), FETTLE_LOG_DIR: join(dir, "log"), FETTLE_RUNTIME_DIR: join(dir, "run"), TMPDIR: temporary };
      const program = runProgram(args, { cwd: dir, input, env: { ...process.env, FETTLE_CONFIG: "", FETTLE_PROFILE: "", ...folders, ...env } });
      programs.push(program);
      return program;
    },
    leftovers: () => readdirSync(temporary).filter((name) => name.startsWith("fettle-")),
    async [Symbol.asyncDispose]() {
      await Promise.all(programs.map((program) => program.stop()));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function runProgram(
  args: readonly string[],
  { cwd, env, input }: { cwd: string; env: Record<string, string | undefined>; input: string | undefined },
): Program {
  const child = spawn(process.execPath, [...runtime, ...args], { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(input);
  let out = "";
  let said = "";
  const facts = createFacts(() => `It said: ${said}`);
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
    facts.changed();
  });
  const ended = once(child, "close").then(([code]) => code as number | null);
  return {
    pid: child.pid ?? 0,
    out: () => out,
    said: () => said,
    untilSaid: (pattern) => facts.until(`it says ${pattern}`, () => pattern.exec(said) ?? undefined, limit()),
    stop(signal = "SIGTERM") {
      // Not child.kill: Deno then reports the signal as the ending, whatever the child made of it.
      if (child.exitCode === null && child.signalCode === null) process.kill(child.pid ?? 0, signal);
      return ended;
    },
    ended,
  };
}

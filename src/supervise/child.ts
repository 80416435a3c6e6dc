// supervise/ owns running processes: it carries out a Plan and says what happens as events.
// Takes: a Plan, a bus, a log. Gives: child processes in their own groups, ended without exception, and an exit code.
// Must not know jobs, images, YAML or schemas: this process stays small, because it outlives everything else.
// child.ts is the only place that spawns; a failure to spawn is a value.
import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import { reasonOf } from "../errors/fettle-error.ts";
import type { Ending } from "../events/event.ts";
import { createDeferred } from "../util/deferred.ts";
import type { Identity } from "./user.ts";

export interface ChildOptions {
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** The whole environment; nothing is added. */
  readonly env: Readonly<Record<string, string>>;
  readonly identity?: Identity;
  /** Output as it comes. A returned promise holds the stream back until it resolves. */
  onOutput(stream: "stdout" | "stderr", chunk: Buffer): Promise<void> | undefined;
}

export type Spawned = { readonly type: "spawned"; readonly child: Child } | SpawnFailure;

export interface SpawnFailure {
  readonly type: "spawn-failed";
  readonly reason: string;
  /** Trying again changes nothing: the program or folder is missing, or may not be run. */
  readonly permanent: boolean;
}

/** A running process: leader of its own session and group, so `-pid` reaches its family. */
export interface Child {
  readonly pid: number;
  /** Resolves when the process itself is gone, even while a grandchild still holds its output open. */
  readonly exited: Promise<Ending>;
  /** Resolves when the last byte of its output was taken. */
  readonly drained: Promise<void>;
  /** Gives up on output that somebody still holds open. */
  closeOutput(): void;
}

const temporary = new Set(["EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ETXTBSY"]);

/** Starts a program with stdin from /dev/null and its output piped to `onOutput`. Never throws. */
export async function spawnChild(options: ChildOptions): Promise<Spawned> {
  const [program = "", ...args] = options.argv;
  // A missing folder is reported by the system as a missing program; ask first, so that the reason is the true one.
  if (options.cwd !== undefined && !isFolder(options.cwd)) return failed(`the folder ${options.cwd} does not exist`, true);
  let process: ChildProcess;
  try {
    process = spawn(program, args, {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: options.env,
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      ...(options.identity && { uid: options.identity.uid, gid: options.identity.gid }),
    });
  } catch (error) {
    return failureOf(program, error);
  }
  const exited = createDeferred<Ending>();
  process.once("exit", (code, signal) => exited.resolve({ code, signal }));
  const { pid } = process;
  if (pid === undefined) return failureOf(program, await new Promise<unknown>((resolve) => process.once("error", resolve)));
  process.on("error", () => undefined);
  return { type: "spawned", child: { pid, exited: exited.promise, ...takeOutput(process, options) } };
}

function takeOutput(process: ChildProcess, { onOutput }: ChildOptions): Pick<Child, "drained" | "closeOutput"> {
  const ends = (["stdout", "stderr"] as const).map((name) => {
    const ended = createDeferred();
    const stream = process[name];
    if (!stream) ended.resolve();
    stream?.on("data", (chunk: Buffer) => {
      const wait = onOutput(name, chunk);
      if (!wait) return;
      stream.pause();
      void wait.then(() => stream.resume());
    });
    stream
      ?.once("close", () => ended.resolve())
      .once("end", () => ended.resolve())
      .on("error", () => ended.resolve());
    return ended.promise;
  });
  return {
    drained: Promise.all(ends).then(() => undefined),
    closeOutput() {
      process.stdout?.destroy();
      process.stderr?.destroy();
    },
  };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function failureOf(program: string, error: unknown): SpawnFailure {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code === "ENOENT") return failed(`the program ${program} does not exist`, true);
  if (code === "EACCES" || code === "EPERM") return failed(`${program} may not be run (permission denied)`, true);
  if (code === "ENOEXEC") return failed(`${program} is not a program this machine can run`, true);
  return failed(reasonOf(error), !temporary.has(code));
}

const failed = (reason: string, permanent: boolean): SpawnFailure => ({ type: "spawn-failed", reason, permanent });

// supervise/ owns running processes: it carries out a Plan and says what happens as events.
// Takes: a Plan, a bus, a log. Gives: child processes in their own groups, ended without exception, and an exit code.
// Must not know jobs, images, YAML or schemas: this process stays small, because it outlives everything else.
// start-process.ts is the only place that spawns; in child.ts a failure to spawn is a value.
import { statSync } from "node:fs";
import { constants } from "node:os";
import { reasonOf } from "../errors/fettle-error.ts";
import type { Ending } from "../events/event.ts";
import { type ByteSource, type RunningProcess, startProcess } from "./start-process.ts";
import type { Identity } from "./user.ts";

export interface ChildOptions {
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** The whole environment; nothing is added. */
  readonly env: Readonly<Record<string, string>>;
  readonly identity?: Identity;
  /** Given: the child has a descriptor 3, and this is called with what it writes there, with undefined when it closes it. */
  onNotify?(chunk: Buffer | undefined): void;
  /** An open file that stdout and stderr are; `onOutput` then hears nothing. */
  readonly outputFd?: number;
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
  /** Gives up on its end, which may never come. */
  forget(): void;
}

const temporary = new Set(["EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ETXTBSY"]);

/** Starts a program with stdin from /dev/null and its output piped to `onOutput`, or written straight to `outputFd`. Never throws. */
export async function spawnChild({ argv, cwd, env, identity, onNotify, onOutput, outputFd }: ChildOptions): Promise<Spawned> {
  // A missing folder is reported by the system as a missing program; ask first, so that the reason is the true one.
  if (cwd !== undefined && !isFolder(cwd)) return failed(`the folder ${cwd} does not exist`, true);
  let started: RunningProcess;
  try {
    started = await startProcess({
      argv,
      env,
      stdin: "ignore",
      output: outputFd ?? "pipe",
      notify: onNotify !== undefined,
      ...(cwd !== undefined && { cwd }),
      ...(identity && { uid: identity.uid, gid: identity.gid }),
    });
  } catch (error) {
    return failureOf(argv[0] ?? "", error);
  }
  const { pid, exited, stdout, stderr, notified, forget } = started;
  const drained = Promise.all([drain(stdout, (chunk) => onOutput("stdout", chunk)), drain(stderr, (chunk) => onOutput("stderr", chunk))]);
  if (onNotify) void takeNotice(notified, onNotify);
  const closeOutput = () => {
    for (const source of [stdout, stderr, notified]) source?.close();
  };
  return { type: "spawned", child: { pid, exited, drained: drained.then(() => undefined), closeOutput, forget } };
}

/** A grandchild may hold the descriptor open for ever; nobody waits for that. */
async function takeNotice(source: ByteSource | undefined, onNotify: (chunk: Buffer | undefined) => void): Promise<void> {
  for (let isTold = false; !isTold;) {
    const bytes = await source?.read();
    onNotify(bytes && asBuffer(bytes));
    isTold = bytes === undefined || bytes.includes(10);
  }
  source?.close();
}

async function drain(source: ByteSource | undefined, take: (chunk: Buffer) => Promise<void> | undefined): Promise<void> {
  for (let bytes = await source?.read(); bytes; bytes = await source?.read()) await take(asBuffer(bytes));
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength);

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function failureOf(program: string, error: unknown): SpawnFailure {
  const code = codeOf(error);
  if (code === "ENOENT") return failed(`the program ${program} does not exist`, true);
  if (code === "EACCES" || code === "EPERM") return failed(`${program} may not be run (permission denied)`, true);
  if (code === "ENOEXEC") return failed(`${program} is not a program this machine can run`, true);
  return failed(reasonOf(error), !temporary.has(code));
}

/** Deno names only the commonest errors; the number stands in its message. */
function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const number = Number(/\(os error (\d+)\)/.exec(message)?.[1]);
  return code ?? Object.entries(constants.errno).find(([, one]) => one === number)?.[0] ?? "";
}

const failed = (reason: string, permanent: boolean): SpawnFailure => ({ type: "spawn-failed", reason, permanent });

import type { ChildProcess, StdioOptions } from "node:child_process";
import type { Readable } from "node:stream";
import type { Ending } from "../events/event.ts";
import { type Bun, bunApi } from "../util/bun.ts";

export interface ProcessOptions {
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** The whole environment; nothing is added. */
  readonly env: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  readonly stdin: "ignore" | "pipe";
  /** Of stdout and stderr; a number is a descriptor that both write to. */
  readonly output: "ignore" | "pipe" | number;
  /** Opens a descriptor 3 that the program can write to. */
  readonly notify?: boolean;
}

/** One end of a pipe. */
export interface ByteSource {
  /** Undefined at the end, also after `close`. Nothing is read ahead of it but what the pipe holds. */
  read(): Promise<Uint8Array | undefined>;
  close(): void;
}

export interface RunningProcess {
  readonly pid: number;
  readonly exited: Promise<Ending>;
  readonly stdout?: ByteSource;
  readonly stderr?: ByteSource;
  readonly notified?: ByteSource;
  /** To its stdin; what a dead process does not take is dropped. */
  write(text: string): void;
  endInput(): void;
  /** Its end is not waited for any more: it does not keep this process alive. */
  forget(): void;
}

/** Starts a program in a session and group of its own. Rejects with the system's error. */
export function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const bun = bunApi();
  // Bun hands out descriptor 3 raw and non-blocking, which no stream reads well.
  return bun && !options.notify ? startOnBun(bun, options) : startOnNode(options);
}

async function startOnBun(bun: Bun, { argv, stdin, output, env, cwd, uid, gid }: ProcessOptions): Promise<RunningProcess> {
  const identity = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
  const child = bun.spawn([...argv], { env, ...(cwd !== undefined && { cwd }), ...identity, stdio: [stdin, output, output], detached: true });
  return {
    pid: child.pid,
    exited: child.exited.then(() => ({ code: child.signalCode === null ? child.exitCode : null, signal: child.signalCode })),
    ...(output === "pipe" && { stdout: fromWeb(child.stdout), stderr: fromWeb(child.stderr) }),
    write(text) {
      quietly(() => child.stdin?.write(text));
      quietly(() => child.stdin?.flush());
    },
    endInput: () => quietly(() => child.stdin?.end()),
    forget: () => child.unref(),
  };
}

function quietly(act: () => unknown): void {
  Promise.resolve()
    .then(act)
    .catch(() => undefined);
}

function fromWeb(stream: ReadableStream<Uint8Array> | undefined): ByteSource {
  const reader = stream?.getReader();
  return {
    read: async () => (await reader?.read().catch(() => undefined))?.value,
    close: () => void reader?.cancel().catch(() => undefined),
  };
}

async function startOnNode({ argv, stdin, output, notify, ...rest }: ProcessOptions): Promise<RunningProcess> {
  const { spawn } = await import("node:child_process");
  const [program = "", ...args] = argv;
  const stdio: StdioOptions = notify ? [stdin, output, output, "pipe"] : [stdin, output, output];
  const child: ChildProcess = spawn(program, args, { ...rest, stdio, detached: true });
  const exited = new Promise<Ending>((resolve) => child.once("exit", (code, signal) => resolve({ code, signal })));
  const { pid } = child;
  if (pid === undefined) throw await new Promise<unknown>((resolve) => child.once("error", resolve));
  child.on("error", () => undefined);
  child.stdin?.on("error", () => undefined);
  return {
    pid,
    exited,
    ...(child.stdout && child.stderr && { stdout: fromNode(child.stdout), stderr: fromNode(child.stderr) }),
    ...(notify && { notified: fromNode(child.stdio[3] as Readable) }),
    write: (text) => void child.stdin?.write(text),
    endInput: () => void child.stdin?.end(),
    forget: () => child.unref(),
  };
}

function fromNode(stream: Readable): ByteSource {
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  return {
    read: () =>
      chunks.next().then(
        ({ done, value }) => (done ? undefined : value),
        () => undefined,
      ),
    close: () => void stream.destroy(),
  };
}

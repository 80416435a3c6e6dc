/** The real child with a handler file of the test's own, on a port that it names itself, and a connection to it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { AttemptResult, ConnectOptions, Engine, RunOptions } from "../../../src/engines/engine.ts";
import { connectPython } from "../../../src/engines/python/connect.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { createFacts } from "../../doubles/facts.ts";

/** Any Python will do; the one with the SDK is only needed beside it. */
export const python = process.env["FETTLE_TEST_HANDLER_PYTHON"] ?? "python3";
export const sdkPython = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"] ?? "";
const program = fileURLToPath(new URL("../../../src/engines/python/helper/fettle_handler.py", import.meta.url));

export interface HandlerOptions {
  readonly slots?: number;
  readonly reload?: boolean;
  readonly python?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly connect?: Partial<ConnectOptions>;
  /** More files beside handler.py. */
  readonly files?: Readonly<Record<string, string>>;
  /** False: the file need not be loadable. */
  readonly untilReady?: boolean;
}

export type HandlerProcess = Awaited<ReturnType<typeof startHandler>>;

export async function startHandler(source: string, options: HandlerOptions = {}) {
  const dir = mkdtempSync(join(tmpdir(), "fettle-handler-"));
  const write = (name: string, text: string) => {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  };
  for (const [name, text] of Object.entries(options.files ?? {})) write(name, text);
  write("handler.py", source);
  const flags = ["--slots", String(options.slots ?? 1), ...(options.reload ? ["--reload"] : [])];
  const child = spawn(options.python ?? python, ["-u", program, ...flags, join(dir, "handler.py"), "--own", "argument"], {
    cwd: dir,
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", OMP_NUM_THREADS: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const facts = createFacts(() => `Its log:\n${lines.join("\n")}`);
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      facts.changed();
    });
  const ended = once(child, "close").then(([code, signal]) => (code ?? signal) as number | string);
  void ended.then(facts.changed);
  const limit = () => ({ signal: AbortSignal.timeout(60_000) });
  const untilLine = (pattern: RegExp) => facts.until(`a line like ${pattern}`, () => lines.find((line) => pattern.test(line)), limit());
  const port = Number(/port (\d+)/.exec(await untilLine(/^Listening on port/))?.[1]);
  const url = `http://127.0.0.1:${port}`;
  const engine = connectPython(
    { name: "handler", url, slots: options.slots ?? 1 },
    {
      timeoutMs: 60_000,
      retry: { tries: 3, backoffMs: 1 },
      letGoMs: 20_000,
      readAnswer: (attempt) => createAnswerReader(attempt, { blackImages: "fail" }),
      ...options.connect,
    },
  );
  if (options.untilReady !== false) {
    const line = await untilLine(/^(Serving|Cannot load) /);
    if (!line.startsWith("Serving")) throw new Error(lines.join("\n"));
  }
  let count = 0;
  return {
    dir,
    url,
    engine,
    lines,
    pid: child.pid ?? 0,
    ended,
    untilLine,
    write,
    // Not child.kill: Deno then reports the signal as the ending, whatever the child made of it.
    kill: (signal: NodeJS.Signals) => void process.kill(child.pid ?? 0, signal),
    /** Runs a job; an attempt's folder for each. */
    run(
      input: Readonly<Record<string, unknown>> = {},
      more: Partial<RunOptions> & { readonly jobId?: string; readonly extra?: Readonly<Record<string, unknown>> } = {},
    ) {
      count += 1;
      const attempt = join(dir, `attempt-${count}`);
      mkdirSync(attempt);
      const { jobId = `job-${count}`, extra, ...run } = more;
      return engine.run({ id: `${count}`, jobId, input, dir: attempt, ...(extra && { extra }) }, { signal: new AbortController().signal, ...run });
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Until it says that it is ready, by its own door. */
export async function untilReady(engine: Engine): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  while (!(await engine.isReady({ signal }))) await new Promise((resolve) => setTimeout(resolve, 20));
}

export function failureOf(result: AttemptResult): Extract<AttemptResult, { type: "failed" }> {
  if (result.type !== "failed") throw new Error(`expected a failure, not ${JSON.stringify(result)}`);
  return result;
}

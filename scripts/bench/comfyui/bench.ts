/**
 * What fettle adds to a prompt that costs ComfyUI next to nothing, beside a bare Python client (websocket-client and requests, as
 * ComfyUI's own examples), on one real ComfyUI in one run: the sides take turns, in rounds. ComfyUI is the user's: COMFYUI_DIR or COMFYUI_URL.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { connectComfyui } from "../../../src/engines/comfyui/connect.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { noOp, startWithComfy, urlsOf } from "../../../test/live/comfyui/setting.ts";
import type { Target } from "../../../test/live/comfyui/target.ts";
import { type Quantiles, quantiles } from "../stats.ts";

/** One way to run prompts; gives the milliseconds of each. */
interface Side {
  readonly name: string;
  run(count: number): Promise<readonly number[]>;
  close(): Promise<void>;
}

export interface ComfyBench {
  readonly version: string;
  readonly sides: readonly { readonly name: string; readonly ms: Quantiles; readonly ratio: number }[];
}

export interface ComfyBenchOptions {
  readonly target: Target;
  readonly fettle: string;
  readonly python: string;
  readonly rounds: number;
  readonly perRound: number;
}

const warmUps = 30;

export async function benchComfyui({ target, fettle: binary, python, rounds, perRound }: ComfyBenchOptions): Promise<ComfyBench> {
  const fettle = await startWithComfy(target, { binary });
  const dir = mkdtempSync(join(tmpdir(), "fettle-bench-comfy-"));
  const open: Side[] = [];
  try {
    await fettle.event("worker.listening");
    await fettle.event("supervisor.ready");
    const snapshot = await fettle.snapshot();
    const [url = ""] = await urlsOf(fettle);
    const stats = (await (await fetch(`${url}/system_stats`)).json()) as { system: { comfyui_version?: string } };
    open.push(await pythonSide(url, python), connectionSide(url, dir), overHttp(snapshot.jobApi ?? ""));
    const samples = new Map<string, number[]>();
    for (let round = -1; round < rounds; round++) {
      for (const side of open) {
        const times = await side.run(round === -1 ? warmUps : perRound);
        if (round >= 0) samples.set(side.name, [...(samples.get(side.name) ?? []), ...times]);
      }
    }
    const base = quantiles(samples.get(open[0]?.name ?? "") ?? []).median;
    const sides = [...samples].map(([name, times]) => ({ name, ms: quantiles(times), ratio: quantiles(times).median / base }));
    return { version: stats.system.comfyui_version ?? "?", sides };
  } finally {
    await Promise.all(open.map((side) => side.close()));
    await fettle.stop();
    for (const one of [dir, fettle.dir]) rmSync(one, { recursive: true, force: true });
  }
}

async function pythonSide(url: string, python: string): Promise<Side> {
  const script = fileURLToPath(new URL("client.py", import.meta.url));
  const child: ChildProcess = spawn(python, ["-u", script, new URL(url).host], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout as NonNullable<typeof child.stdout> })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("The Python client ended; it needs websocket-client and requests.");
    return value as string;
  };
  await next();
  let start = 0xa00000;
  return {
    name: "bare Python client",
    async run(count) {
      child.stdin?.write(`${count} ${start}\n`);
      start += count;
      return JSON.parse(await next()) as number[];
    },
    async close() {
      child.stdin?.end();
      if (child.exitCode === null) await once(child, "close");
    },
  };
}

/** The connection alone, in this process: to the answer on disk. */
function connectionSide(url: string, dir: string): Side {
  const readAnswer = (attempt: Parameters<typeof createAnswerReader>[0]) => createAnswerReader(attempt, { blackImages: "fail" });
  const engine = connectComfyui({ name: "bench", url, slots: 1 }, { timeoutMs: 60_000, retry: { tries: 1, backoffMs: 100 }, readAnswer });
  let number = 0;
  return {
    name: "fettle's connection",
    run: (count) =>
      timed(count, async () => {
        const own = join(dir, String(++number));
        mkdirSync(own);
        const result = await engine.run(
          { id: `bench-${number}`, jobId: "bench", input: { workflow: noOp() }, dir: own },
          { signal: new AbortController().signal },
        );
        if (result.type !== "done") throw new Error(JSON.stringify(result));
      }),
    close: () => engine.close(),
  };
}

/** All of fettle: a POST to the job API, journalled, checked, answered. */
function overHttp(url: string): Side {
  return {
    name: "fettle, HTTP to HTTP",
    run: (count) =>
      timed(count, async () => {
        const response = await fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ input: { workflow: noOp() } }) });
        const reply = (await response.json()) as { status: string };
        if (reply.status !== "COMPLETED") throw new Error(JSON.stringify(reply).slice(0, 1000));
      }),
    close: async () => {},
  };
}

async function timed(count: number, work: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    const since = performance.now();
    await work();
    times.push(performance.now() - since);
  }
  return times;
}

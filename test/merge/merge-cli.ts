import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface MergeCli extends Disposable {
  readonly folder: string;
  /** Starts `fettle merge ARGS` in the folder; with `through`, as the arguments of that program. */
  start(
    args: readonly string[],
    options?: { env?: Record<string, string>; through?: readonly string[] },
  ): { readonly child: ChildProcess; readonly ended: Promise<Ended> };
  run(args: readonly string[], options?: { env?: Record<string, string>; through?: readonly string[] }): Promise<Ended>;
}

/** The real program in a folder of its own; needs a Python with numpy, python3 or FETTLE_PYTHON. */
export function openMergeCli(env: Record<string, string> = {}): MergeCli {
  const folder = mkdtempSync(join(tmpdir(), "fettle-merge-"));
  const usual = {
    PATH: process.env["PATH"] ?? "",
    HOME: folder,
    FETTLE_PYTHON: process.env["FETTLE_PYTHON"] ?? "python3",
    FETTLE_STATE_DIR: join(folder, "state"),
  };
  const cli: MergeCli = {
    folder,
    start(args, { env: more = {}, through = [] } = {}) {
      const [program = "", ...rest] = [...through, process.execPath, ...runtime, "merge", ...args];
      const child = spawn(program, rest, { cwd: folder, env: { ...usual, ...env, ...more }, stdio: ["ignore", "pipe", "pipe"] });
      let out = "";
      let err = "";
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
      return { child, ended: new Promise((resolve) => void child.on("close", (code, signal) => resolve({ code: codeOf(code, signal), signal, out, err }))) };
    },
    run: (args, options) => cli.start(args, options).ended,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
  return cli;
}

/** Deno tells of an exit with 130 as of a death by SIGINT. */
const codeOf = (code: number | null, signal: NodeJS.Signals | null): number | null => (signal === "SIGINT" ? 130 : code);

interface Tensor {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** A safetensors file of float32 tensors. */
export function tensorFile(tensors: Readonly<Record<string, Tensor>>): Buffer {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [key, { shape, values }] of Object.entries(tensors)) header[key] = { dtype: "F32", shape, data_offsets: [at, (at += values.length * 4)] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...Object.values(tensors).map(({ values }) => Buffer.from(new Float32Array(values).buffer))]);
}

export function readTensor(path: string, key: string): number[] {
  const file = readFileSync(path);
  const dataAt = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString("utf8", 8, dataAt)) as Record<string, { data_offsets: [number, number] }>;
  const [start, end] = header[key]?.data_offsets ?? [0, 0];
  return [...new Float32Array(file.buffer.slice(file.byteOffset + dataAt + start, file.byteOffset + dataAt + end))];
}

export const weight = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight";
const module = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q";

/** A checkpoint of one attention weight [[1,2],[3,4]] + `offset`, and so many bytes that nobody touches. */
export const tinyBase = (offset: number, restBytes = 400_000): Buffer =>
  tensorFile({
    [weight]: { shape: [2, 2], values: [1, 2, 3, 4].map((one) => one + offset) },
    "first_stage_model.x": { shape: [restBytes / 4], values: Array.from({ length: restBytes / 4 }, (_, index) => (index % 1000) + offset) },
  });

/** At strength s it adds s · [[2,20],[4,40]] · alpha. */
export const tinyLora = (alpha: number): Buffer =>
  tensorFile({
    [`${module}.lora_down.weight`]: { shape: [1, 2], values: [1, 10] },
    [`${module}.lora_up.weight`]: { shape: [2, 1], values: [2, 4] },
    [`${module}.alpha`]: { shape: [], values: [alpha] },
  });

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { helperFiles } from "../../src/merge/helper-files.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const helper = fileURLToPath(new URL("../../src/merge/helper/", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
const folder = mkdtempSync(join(tmpdir(), "fettle-cli-merge-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the real program; needs a Python with numpy, python3 or FETTLE_PYTHON. */
function fettle(args: readonly string[], env: Record<string, string> = {}): { code: number | null; out: string; err: string } {
  const python = process.env["FETTLE_PYTHON"] ?? "python3";
  const { status, stdout, stderr } = spawnSync(process.execPath, [...runtime, "merge", ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: folder, FETTLE_PYTHON: python, FETTLE_STATE_DIR: join(folder, "state"), ...env },
  });
  return { code: status, out: stdout, err: stderr };
}

/** A safetensors file of float32 tensors. */
function writeTensors(name: string, tensors: Readonly<Record<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>>): string {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [key, { shape, values }] of Object.entries(tensors)) header[key] = { dtype: "F32", shape, data_offsets: [at, (at += values.length * 4)] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([length, text, ...Object.values(tensors).map(({ values }) => Buffer.from(new Float32Array(values).buffer))]));
  return path;
}

function readTensor(path: string, key: string): number[] {
  const file = readFileSync(path);
  const dataAt = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString("utf8", 8, dataAt)) as Record<string, { data_offsets: [number, number] }>;
  const [start, end] = header[key]?.data_offsets ?? [0, 0];
  return [...new Float32Array(file.buffer.slice(file.byteOffset + dataAt + start, file.byteOffset + dataAt + end))];
}

const weight = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight";
const base = writeTensors("base.safetensors", { [weight]: { shape: [2, 2], values: [1, 2, 3, 4] }, "first_stage_model.x": { shape: [2], values: [5, 6] } });
const key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q";
const lora = writeTensors("lora.safetensors", {
  [`${key}.lora_down.weight`]: { shape: [1, 2], values: [1, 10] },
  [`${key}.lora_up.weight`]: { shape: [2, 1], values: [2, 4] },
  [`${key}.alpha`]: { shape: [], values: [0.5] },
});

test("merges a LoRA into a file and says what it did", () => {
  const { code, out, err } = fettle(["--base", base, "--lora", `${lora}:0.5`, "--out", "merged.safetensors"]);
  assert.deepEqual([code, out], [0, `${join(folder, "merged.safetensors")}\n`], err);
  // W + 0.5 · (0.5 / 1) · U·D
  assert.deepEqual(readTensor(join(folder, "merged.safetensors"), weight), [1.5, 7, 4, 14]);
  assert.deepEqual(readTensor(join(folder, "merged.safetensors"), "first_stage_model.x"), [5, 6]);
  assert.match(err, /1 of 2 tensors changed \(lora\.safetensors: unet 1\)/);
});

test("a recipe writes every template, --json gives the reports, --dry-run writes nothing", () => {
  writeFileSync(join(folder, "templates.json"), JSON.stringify({ one: { checkpoint: "base.safetensors", loras: ["lora.safetensors"] } }));
  const dry = fettle(["templates.json", "--dry-run", "--json"]);
  assert.equal(dry.code, 0, dry.err);
  assert.equal((JSON.parse(dry.out) as { merges: { written: boolean }[] }).merges[0]?.written, false);
  assert.equal(existsSync(join(folder, "merged")), false);
  const { code, out } = fettle(["templates.json", "--json"]);
  assert.equal(code, 0);
  const [report] = (JSON.parse(out) as { merges: { out: string; changedTensors: number; sha256: Record<string, string> }[] }).merges;
  assert.equal(report?.out, join(folder, "merged/one.safetensors"));
  assert.match(report?.sha256[base] ?? "", /^[0-9a-f]{64}$/);
  assert.deepEqual(readdirSync(join(folder, "merged")), ["one.safetensors"]);
});

test("a thousand and more LoRAs fit into a request", () => {
  const loras = Array.from({ length: 1200 }, () => ({ path: "lora.safetensors", scale: 0.01 }));
  writeFileSync(join(folder, "many.json"), JSON.stringify({ many: { checkpoint: "base.safetensors", loras } }));
  const { code, err } = fettle(["many.json", "--json", "--out", "of-many"]);
  assert.equal(code, 0, err);
  // W + 1200 · 0.01 · (0.5 / 1) · U·D
  assert.deepEqual(readTensor(join(folder, "of-many/many.safetensors"), weight).map(Math.round), [13, 122, 27, 244]);
});

test("what matches nothing is shown in a table, and its names cannot write on the terminal", () => {
  const other = writeTensors("other.safetensors", {
    [`${key}.lora_down.weight`]: { shape: [1, 2], values: [1, 10] },
    [`${key}.lora_up.weight`]: { shape: [2, 1], values: [2, 4] },
    "lora_unet_\u001b[2Jnowhere.lora_down.weight": { shape: [1, 2], values: [1, 10] },
    "lora_unet_\u001b[2Jnowhere.lora_up.weight": { shape: [2, 1], values: [2, 4] },
  });
  const { code, err } = fettle(["--base", base, "--lora", other, "--out", "never.safetensors"]);
  assert.equal(code, 1);
  assert.match(err, /LoRA +matched +types +not matched\n +other\.safetensors +unet 1 +LoRA 1 +1: lora_unet_.\[2Jnowhere\n/u);
  assert.equal(err.includes("\u001b[2J"), false);
  const dry = fettle(["--base", base, "--lora", lora, "--out", "never.safetensors", "--dry-run"]);
  assert.deepEqual([dry.code, dry.out], [0, ""]);
  assert.match(dry.err, /lora\.safetensors +unet 1 +LoRA 1 +none/);
});

test("failures have codes and leave nothing behind", () => {
  const failing = (args: readonly string[], env?: Record<string, string>) => {
    const { code, out } = fettle([...args, "--json"], env);
    return [code, (JSON.parse(out) as { error: { code: string } }).error.code];
  };
  const merge = (from: string, file: string) => ["--base", from, "--lora", file, "--out", "never.safetensors"];
  writeFileSync(join(folder, "text.safetensors"), "this is not a safetensors file, whatever its name says");
  assert.deepEqual(failing(merge(base, "missing.safetensors")), [1, "model.not-found"]);
  assert.deepEqual(failing(merge("text.safetensors", lora)), [1, "model.wrong-content"]);
  assert.deepEqual(failing(merge(base, base)), [1, "merge.no-match"]);
  assert.deepEqual(failing(["missing.json"]), [2, "merge.invalid-recipe"]);
  assert.deepEqual(failing(["--base", base]), [2, "cli.bad-value"]);
  assert.deepEqual(failing(merge(base, lora), { FETTLE_PYTHON: "/no/such/python" }), [3, "machine.missing-program"]);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("never")),
    [],
  );
});

test("every file of the helper travels inside the binary", () => {
  assert.deepEqual(
    Object.keys(helperFiles)
      .filter((name) => !name.startsWith("engine/"))
      .toSorted(),
    readdirSync(helper)
      .filter((name) => name.endsWith(".py"))
      .toSorted(),
  );
});

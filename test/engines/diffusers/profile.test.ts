/** The profile diffusers-runpod with a tiny model: one job from a file, as `test_input.json` runs it, and `generate --template`. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { skip } from "../../fixtures/bundled-engine.ts";

const python = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"] ?? "";
const main = fileURLToPath(new URL("../../../src/main.ts", import.meta.url));
const helper = fileURLToPath(new URL("../../../src/engines/diffusers/helper/tiny_model.py", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
const small = { steps: 2, width: 64, height: 64 };
const templates = {
  plain: { checkpoint: "base", parameters: small },
  styled: { checkpoint: "base", loras: [{ path: "gone.safetensors", scale: 0.5 }], parameters: small },
};

function makePlace() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-profile-"));
  const made = spawnSync(python, [helper, join(dir, "base")], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  writeFileSync(join(dir, "templates.json"), JSON.stringify({ templates }));
  const env = {
    ...process.env,
    OMP_NUM_THREADS: "1",
    FETTLE_PYTHON: python,
    FETTLE_TEMPLATES: join(dir, "templates.json"),
    FETTLE_MODELS_DIR: join(dir, "models"),
    FETTLE_STATE_DIR: join(dir, "state"),
  };
  const run = async (...args: string[]) => {
    const own = ["--profile", "diffusers-runpod", "--set", "engines.diffusers.vae=", "--set", "engines.diffusers.port=0"];
    const child = spawn(process.execPath, [...runtime, ...args, ...own], { cwd: dir, env, stdio: ["ignore", "pipe", "pipe"] });
    const texts = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (texts[0] += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (texts[1] += text));
    const [code] = (await once(child, "close")) as [number | null];
    return { code, out: texts[0] ?? "", errors: texts[1] ?? "" };
  };
  return { dir, run, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

test("a job from a file gets its template's answer, and generate makes a template's image", { timeout: 180_000, skip }, async () => {
  using place = makePlace();
  writeFileSync(join(place.dir, "test_input.json"), JSON.stringify({ input: { prompt: "a (cat:1.2)", template: "styled", seed: 3, steps: 3 } }));
  const job = await place.run("start", "--test-input", "test_input.json");
  assert.equal(job.code, 0, job.errors);
  const { output } = JSON.parse(job.out) as { output: Record<string, unknown> };
  assert.deepEqual(Object.keys(output), ["images", "image", "template", "parameters", "info", "warnings"]);
  assert.equal(output["image"], (output["images"] as string[])[0]);
  const { steps, cfg_scale: cfg, width } = output["parameters"] as Record<string, number>;
  assert.deepEqual([steps, cfg, width], [3, 4.5, 64]);
  const { name, checkpoint, loras, merged } = output["template"] as Record<string, unknown>;
  assert.deepEqual([name, checkpoint, merged], ["styled", "base", false]);
  assert.deepEqual(loras, [{ source: "gone.safetensors", scale: 0.5, loaded: false, adapter: null }]);
  assert.match((output["warnings"] as string[]).join("\n"), /LoRA gone\.safetensors was left out: .*there is no such file/);

  const unknown = await place.run("generate", "--template", "plian", "--prompt", "a cat", "--json");
  assert.equal(unknown.code, 2, unknown.errors);
  assert.match(unknown.out, /there is no template \\"plian\\"; there are: plain, styled/);
  const made = await place.run("generate", "--template", "plain", "--prompt", "a cat", "--out", "cat.png");
  assert.equal(made.code, 0, made.errors);
  assert.equal(readFileSync(join(place.dir, "cat.png")).readUInt32BE(16), 64);
});

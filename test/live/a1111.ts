/**
 * The same jobs on a real AUTOMATIC1111 webui and on the bundled engine, through the one connection that serves both.
 * Run by scripts/live, never by the ordinary tests. Its environment: A1111_URL (a webui that runs), or A1111_DIR and
 * A1111_PYTHON (one to launch; scripts/live makes the tiny checkpoint), and FETTLE_PYTHON for the bundled engine.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { AttemptResult, Engine, Progress } from "../../src/engines/engine.ts";
import { connect, say } from "../engines/sdapi/connection.ts";
import { makeAttempt } from "../fixtures/sdapi-answer.ts";
import { type Instance, startInstance } from "./instance.ts";
import { lacks, shapeOf } from "./answer-shape.ts";

const never = new AbortController().signal;
const small = { prompt: "a lighthouse", steps: 4, width: 64, height: 64, seed: 7 };
/** Long enough that it cannot end before it is interrupted. */
const long = { ...small, width: 256, height: 256, steps: 2000 };

let instance: Instance;
let engines: readonly { readonly name: string; readonly url: string; readonly engine: Engine }[] = [];

before(async () => {
  instance = await startInstance({
    webui: webui(process.env),
    bundled: { kind: "diffusers", port: 0, tinyModel: true, device: "cpu", python: process.env["FETTLE_PYTHON"] ?? "python3", env: { OMP_NUM_THREADS: "1" } },
  });
  const kinds = { webui: "a1111", bundled: "diffusers" } as const;
  engines = Object.entries(kinds).map(([name, kind]) => {
    const url = instance.engineUrl(name);
    return { name, url, engine: connect(url, { kind, pace: { progressMs: 50 }, options: { timeoutMs: 120_000 } }) };
  });
});
after(() => instance[Symbol.asyncDispose]());

/** A webui that runs, or the seed's launch with flags for the CPU in place of those for a GPU. */
function webui(env: NodeJS.ProcessEnv): Record<string, unknown> {
  if (env["A1111_URL"]) return { kind: "a1111", url: env["A1111_URL"] };
  const { A1111_DIR: directory = "", A1111_PYTHON: python = "python3", A1111_CHECKPOINT: checkpoint = "", A1111_DATA: dataDir = "" } = env;
  const switches = ["--api", "--nowebui", "--skip-python-version-check", "--skip-torch-cuda-test", "--skip-install", "--skip-version-check", "--no-hashing"];
  // --server-name: without it the webui's API listens on every interface.
  const cpu = ["--server-name", "127.0.0.1", "--use-cpu", "all", "--no-half", "--no-download-sd-model", "--ckpt", checkpoint, "--data-dir", dataDir];
  const offline = { OMP_NUM_THREADS: "1", HF_HUB_OFFLINE: "1", CUDA_VISIBLE_DEVICES: "", GRADIO_ANALYTICS_ENABLED: "False" };
  return { kind: "a1111", directory, python, port: 0, args: [...switches, ...cpu], env: offline, readiness: { startup: "5m" } };
}

interface Ended {
  readonly result: AttemptResult;
  readonly answer: Record<string, unknown> | undefined;
}

async function run(
  engine: Engine,
  input: Record<string, unknown>,
  options: { signal?: AbortSignal; onProgress?: (progress: Progress) => void } = {},
): Promise<Ended> {
  await using attempt = await makeAttempt(input);
  const result = await engine.run(attempt, { signal: never, ...options });
  return { result, answer: result.type === "done" ? (JSON.parse(await readFile(result.output.answer.path, "utf8")) as Record<string, unknown>) : undefined };
}

/** Runs on both, webui first; asserts that each is done. */
async function onBoth(input: Record<string, unknown>): Promise<Record<string, unknown>[]> {
  const answers: Record<string, unknown>[] = [];
  for (const { name, engine } of engines) {
    const { result, answer } = await run(engine, input);
    assert.equal(say(result), "done", name);
    answers.push(answer ?? {});
  }
  return answers;
}

const imagesOf = (answer: Record<string, unknown> | undefined) => (answer?.["images"] ?? []) as string[];
const infoOf = (answer: Record<string, unknown> | undefined) => JSON.parse(String(answer?.["info"])) as Record<string, unknown>;

test("both are ready, and their models are listed alike", async () => {
  for (const { engine, name } of engines) assert.equal(await engine.isReady({ signal: never }), true, name);
});

test("what a client asks besides jobs has one shape", async () => {
  for (const path of [
    "sd-models",
    "samplers",
    "schedulers",
    "progress?skip_current_image=true",
    "memory",
    "options",
    "upscalers",
    "sd-vae",
    "loras",
    "embeddings",
    "cmd-flags",
    "scripts",
  ]) {
    const [model, other] = await Promise.all(engines.map(async ({ url }) => shapeOf(await (await fetch(`${url}/sdapi/v1/${path}`)).json())));
    const missing = lacks(model ?? "null", other);
    // A1111 has some 300 options and flags, most of them of its own interface; the values that clients read must be there.
    const wanted =
      path === "options"
        ? missing.filter((one) => /^(sd_model_checkpoint|sd_checkpoint_hash|samples_format|sd_vae|CLIP_stop_at_last_layers) /.test(one))
        : path === "cmd-flags"
          ? []
          : missing;
    assert.deepEqual(wanted, [], path);
  }
});

test("txt2img answers with the same fields", async () => {
  const [model, other] = await onBoth(small);
  assert.deepEqual(lacks(shapeOf(model), shapeOf(other)), []);
  assert.deepEqual(lacks(shapeOf(infoOf(model)), shapeOf(infoOf(other))), []);
  for (const answer of [model, other]) assert.equal(infoOf(answer)["seed"], 7);
});

test("the seed's own body is done by both", async () => {
  const body = {
    prompt: "a photograph of an astronaut riding a horse",
    negative_prompt: "text, watermark, blurry, low quality",
    steps: 5,
    cfg_scale: 7,
    width: 128,
    height: 128,
    sampler_name: "DPM++ 2M Karras",
  };
  for (const answer of await onBoth(body)) assert.equal(infoOf(answer)["sampler_name"], "DPM++ 2M");
});

test("img2img and batches keep their order and their seeds", async () => {
  const [first] = await onBoth(small);
  const image = imagesOf(first)[0];
  const [model, other] = await onBoth({ ...small, init_images: [image], denoising_strength: 0.6, batch_size: 2, n_iter: 2 });
  assert.deepEqual(lacks(shapeOf(model), shapeOf(other)), []);
  for (const answer of [model, other]) {
    assert.equal(imagesOf(answer).length, 4);
    assert.deepEqual(infoOf(answer)["all_seeds"], [7, 8, 9, 10]);
  }
});

test("odd but allowed bodies are done by both", async () => {
  for (const more of [
    { send_images: false },
    { width: "64" },
    { unknown_field: { deep: [1] } },
    { sampler_name: "no such sampler" },
    { width: 65, height: 70 },
    { prompt: "nul \u0000 and ü" },
  ]) {
    const [model, other] = await onBoth({ ...small, ...more });
    assert.equal(imagesOf(model).length, imagesOf(other).length, JSON.stringify(more));
  }
});

test("what one refuses or fails on, the other does too, with the same code", async () => {
  const bodies: [Record<string, unknown>, string][] = [
    [{ steps: "many" }, "engine.rejected"],
    [{ ...small, width: { a: 1 } }, "engine.rejected"],
    [{ ...small, script_name: "no such script" }, "engine.rejected"],
    [{ ...small, alwayson_scripts: { "no such script": { args: [] } } }, "engine.rejected"],
    [{ ...small, init_images: ["not an image"] }, "engine.rejected"],
    [{ ...small, width: 0 }, "engine.failed"],
    [{ ...small, steps: 0 }, "engine.failed"],
  ];
  for (const [body, code] of bodies) {
    for (const { name, engine } of engines) {
      const { result } = await run(engine, body);
      assert.equal(result.type === "failed" ? result.code : result.type, code, `${name} ${JSON.stringify(body)}: ${say(result)}`);
    }
  }
  for (const { engine } of engines) assert.match(say((await run(engine, { steps: "many" })).result), /: steps: .*integer/i);
});

test("progress is told while a job runs, a cancel ends it, and the next job is whole", async () => {
  for (const { name, engine, url } of engines) {
    const cancel = new AbortController();
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => {
      seen.push(progress);
      if (seen.length === 3) cancel.abort();
    };
    assert.equal(say((await run(engine, long, { signal: cancel.signal, onProgress })).result), "cancelled", name);
    assert.ok(
      seen.every(({ fraction }, index) => fraction > 0 && fraction < 1 && fraction >= (seen[index - 1]?.fraction ?? 0)),
      JSON.stringify(seen),
    );
    assert.equal(seen.at(-1)?.steps, long.steps);
    const { state } = (await (await fetch(`${url}/sdapi/v1/progress?skip_current_image=true`)).json()) as { state: { job_count: number } };
    assert.equal(state.job_count, 0, name);
    assert.equal(say((await run(engine, small)).result), "done", name);
  }
});

test("a job that takes too long is interrupted, and the engine is free again", async () => {
  for (const { name, url } of engines) {
    const hurried = connect(url, { kind: name === "webui" ? "a1111" : "diffusers", options: { timeoutMs: 1000 } });
    assert.match(say((await run(hurried, long)).result), /^engine\.timeout /, name);
    assert.equal(say((await run(hurried, small)).result), "done", name);
  }
});

test("work of a former life is ended by settle", async () => {
  for (const { name, engine, url } of engines) {
    const orphan = fetch(`${url}/sdapi/v1/txt2img`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(long) });
    const running = async () =>
      ((await (await fetch(`${url}/sdapi/v1/progress?skip_current_image=true`)).json()) as { state: { sampling_step: number; job_count: number } }).state;
    while ((await running()).job_count === 0);
    await engine.settle({ signal: AbortSignal.timeout(60_000) });
    assert.equal((await orphan).status, 200, name);
    assert.equal((await running()).job_count, 0, name);
  }
});

test("jobs through fettle's own API come back, and a bad one fails with its reason", async () => {
  const answers = await Promise.all([1, 2, 3, 4].map((seed) => instance.runsync({ ...small, seed })));
  for (const { status, output, error } of answers) {
    assert.equal(status, "COMPLETED", error);
    assert.equal(imagesOf(output).length, 1);
  }
  const bad = await instance.runsync({ ...small, steps: "many" });
  assert.equal(bad.status, "FAILED");
  assert.match(bad.error ?? "", /steps/);
});

// The same jobs on the real webui and on the bundled engine, through the one connection that serves both; then their answers side by side.
// Differences are printed; where a client of the real one would miss something, the test fails. Run by scripts/live.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { AttemptResult, Engine, Progress } from "../../src/engines/engine.ts";
import { connect, say } from "../engines/sdapi/connection.ts";
import { makeAttempt } from "../fixtures/sdapi-answer.ts";
import { askEngine } from "./engine.ts";
import type { Fettle } from "./fettle.ts";
import { bundledName, comparisons, engineName, seedJob, startWithBoth, urlOf } from "./setting.ts";
import { differences, isLacking } from "./shape.ts";
import { readTarget } from "./target.ts";

const never = new AbortController().signal;
const small = { prompt: "a lighthouse", steps: 4, width: 64, height: 64, seed: 7 };
/** Long enough that it cannot end before it is interrupted. */
const long = { ...small, width: 256, height: 256, steps: 2000 };

let fettle: Fettle;
let engines: readonly { readonly name: string; readonly url: string; readonly engine: Engine }[] = [];

before(async () => {
  fettle = await startWithBoth(readTarget(process.env));
  await fettle.event("supervisor.ready");
  const kinds = { [engineName]: "a1111", [bundledName]: "diffusers" } as const;
  engines = await Promise.all(
    Object.entries(kinds).map(async ([name, kind]) => {
      const url = await urlOf(fettle, name);
      return { name, url, engine: connect(url, { kind, pace: { progressMs: 50 }, options: { timeoutMs: 120_000 } }) };
    }),
  );
});
after(async () => {
  await fettle.stop();
  rmSync(fettle.dir, { recursive: true, force: true });
});

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

test("the seed's own body is done by both", async () => {
  const body = { ...seedJob, width: 128, height: 128 };
  for (const answer of await onBoth(body)) assert.equal(infoOf(answer)["sampler_name"], "DPM++ 2M");
});

test("img2img and batches keep their order and their seeds", async () => {
  const [first] = await onBoth(small);
  const image = imagesOf(first)[0];
  const [model, other] = await onBoth({ ...small, init_images: [image], denoising_strength: 0.6, batch_size: 2, n_iter: 2 });
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
    const hurried = connect(url, { kind: name === engineName ? "a1111" : "diffusers", options: { timeoutMs: 1000 } });
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

/** Where the bundled engine is other by intent: few options, no defaults of A1111's pages beside an infotext, FastAPI's newer words for no JSON. */
const isByIntent = (title: string, path: string) =>
  path.startsWith("detail[].ctx") || (title === "png-info" && path.startsWith("parameters.")) || (title === "/sdapi/v1/options" && !wantedOptions.has(path));
const wantedOptions = new Set(["sd_model_checkpoint", "sd_checkpoint_hash", "samples_format", "sd_vae", "CLIP_stop_at_last_layers"]);

test("every answer has the real one's status and lacks none of its fields", { timeout: 300_000 }, async () => {
  const [real, bundled] = engines.map(({ url }) => url);
  const { images } = (await askEngine(real ?? "", "POST", "/sdapi/v1/txt2img", small)).body as { images: string[] };
  const lacking: string[] = [];
  const more = new Set<string>();
  for (const { title, method, path, body } of comparisons(images[0] ?? "")) {
    const [theirs, ours] = await Promise.all([real, bundled].map((url) => askEngine(url ?? "", method, path, body)));
    if (theirs?.status !== ours?.status) lacking.push(`${title}: status ${theirs?.status}, bundled ${ours?.status}`);
    for (const difference of differences(theirs?.body, ours?.body)) {
      const line = `${title}: ${difference.path}: ${difference.real ?? "missing"}, bundled ${difference.bundled ?? "missing"}`;
      if (isByIntent(title, difference.path)) continue;
      if (isLacking(difference)) lacking.push(line);
      else more.add(difference.path);
    }
  }
  console.log(`  only the bundled engine has, or has otherwise: ${[...more].join(", ") || "nothing"}`);
  for (const line of lacking) console.log(`  ${line}`);
  assert.deepEqual(lacking, []);
});

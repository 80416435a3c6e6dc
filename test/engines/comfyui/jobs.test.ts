/** Jobs on their whole way: job API, reading, connection, results; ComfyUI is the double. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connectComfyui } from "../../../src/engines/comfyui/connect.ts";
import { createLog } from "../../../src/log/log.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { createFinishStep } from "../../../src/results/finish/finish-step.ts";
import { startComfyDouble } from "../../doubles/comfyui.ts";
import { smallPng } from "../../fixtures/sdapi-answer.ts";
import { usualResults } from "../../fixtures/usual-results.ts";
import { httpConfig, startRig } from "../../jobs/worker-rig.ts";
import { workflow } from "./connection.ts";

interface Reply {
  readonly status: string;
  readonly errorCode?: string;
  readonly error?: string;
  readonly output: Readonly<Record<string, unknown>>;
}

const patient = { timeout: 60_000 };
const portrait = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
  "2": { class_type: "CLIPTextEncode", inputs: { text: "nothing", clip: ["1", 1] } },
  "4": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  "5": {
    class_type: "KSampler",
    inputs: {
      model: ["1", 0],
      positive: ["2", 0],
      negative: ["2", 0],
      latent_image: ["4", 0],
      seed: 1,
      steps: 2,
      cfg: 7,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
    },
  },
  "6": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["1", 2] } },
  "7": { class_type: "SaveImage", inputs: { images: ["6", 0], filename_prefix: "portrait" } },
};

async function startWorker(settings: Readonly<Record<string, string>> = {}) {
  const comfy = await startComfyDouble();
  const readAnswer = (attempt: Parameters<typeof createAnswerReader>[0]) => createAnswerReader(attempt, { blackImages: "off" });
  const engine = connectComfyui({ name: "comfy", url: comfy.url, slots: 1, settings }, { timeoutMs: 30_000, retry: { tries: 3, backoffMs: 1 }, readAnswer });
  const log = createLog({ write: () => undefined });
  const finish = createFinishStep({ results: usualResults, blackImages: "off", assetRoot: "/nowhere", log });
  const rig = await startRig(engine, { sources: { http: httpConfig() }, steps: [finish] });
  const url = await rig.untilListening();
  return {
    comfy,
    rig,
    async run(input: object): Promise<Reply> {
      const response = await fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ input }), signal: AbortSignal.timeout(30_000) });
      return (await response.json()) as Reply;
    },
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]();
      await comfy[Symbol.asyncDispose]();
    },
  };
}

test("worker-comfyui's input gives its output; images and names are the job's own", patient, async () => {
  await using worker = await startWorker();
  const nodes = {
    "1": { class_type: "LoadImage", inputs: { image: "in.png" } },
    "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "mine/x" } },
  };
  const images = [{ name: "in.png", image: `data:image/png;base64,${smallPng.toString("base64")}` }];
  const { status, output } = await worker.run({ workflow: nodes, images, comfy_org_api_key: "own-key" });
  assert.equal(status, "COMPLETED");
  assert.deepEqual(Object.keys(output), ["images"]);
  const [image] = output["images"] as readonly Record<string, string>[];
  assert.deepEqual(Object.keys(image ?? {}), ["filename", "type", "data"]);
  assert.deepEqual([image?.["filename"], image?.["type"]], ["x_00001_.png", "base64"]);
  assert.equal(Buffer.from(image?.["data"] ?? "", "base64").toString("latin1", 1, 4), "PNG");
  assert.ok([...worker.comfy.uploads.values()].some((bytes) => bytes.equals(smallPng)));
  assert.equal(worker.comfy.prompts[0]?.extra["api_key_comfy_org"], "own-key");
});

test("a video comes in files; three mistakes are three errors", patient, async () => {
  await using worker = await startWorker();
  const video = { "1": workflow()["1"], "2": { class_type: "SaveVideo", inputs: { image: ["1", 0], filename_prefix: "clip", bytes: 1000 } } };
  const { output } = await worker.run({ workflow: video });
  const [file] = output["files"] as readonly Record<string, string>[];
  assert.deepEqual([output["images"], file?.["type"], Buffer.from(file?.["data"] ?? "", "base64").length], [[], "base64", 1000]);
  const wrong = {
    "1": { class_type: "EmptyImage", inputs: { width: 99_999, height: 64, batch_size: 1, color: 1 } },
    "2": { class_type: "ImageInver", inputs: { image: ["1", 0] } },
    "3": { class_type: "SaveImage", inputs: { images: ["9", 0], filename_prefix: "x" } },
  };
  const refused = await worker.run({ workflow: wrong });
  assert.equal(refused.errorCode, "job.invalid");
  assert.match(
    refused.error ?? "",
    /3 mistakes: .*node 1 \(EmptyImage\), width: .*node 2 \(ImageInver\).*"ImageInvert".*node 3 \(SaveImage\), images: .*node 9/,
  );
});

test("A1111's names are answered as A1111 does, by the built-in workflow or a named one; the warm-up comes first", patient, async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-workflows-"));
  try {
    writeFileSync(join(dir, "portrait.json"), JSON.stringify(portrait));
    writeFileSync(join(dir, "portrait.yaml"), "inputs: { prompt: 2.text, seed: 5.seed, size: [4.width, 4.height] }\ndefaults: { seed: -1 }\n");
    await using worker = await startWorker({ workflows: dir, warmUp: join(dir, "portrait.json") });
    const built = await worker.run({ prompt: "a castle", num_inference_steps: 3, seed: 7, width: 64, height: 64 });
    assert.equal(built.status, "COMPLETED");
    assert.equal(typeof (built.output["images"] as unknown[])[0], "string");
    const info = JSON.parse(String(built.output["info"])) as { seed: number; infotexts: string[] };
    assert.deepEqual([info.seed, info.infotexts.length], [7, 1]);
    assert.match(info.infotexts[0] ?? "", /^a castle\nSteps: 3, .*Seed: 7, Size: 64x64, Model: tiny$/);
    const named = await worker.run({ workflow: "portrait", prompt: "a cat", size: 128 });
    assert.equal(named.status, "COMPLETED");
    const [warmUp, , sent] = worker.comfy.prompts;
    assert.equal(warmUp?.prompt["2"]?.inputs?.["text"], "nothing");
    assert.deepEqual([sent?.prompt["2"]?.inputs?.["text"], sent?.prompt["4"]?.inputs?.["width"], sent?.prompt["4"]?.inputs?.["height"]], ["a cat", 128, 128]);
    assert.equal((named.output["parameters"] as { seed: number }).seed, sent?.prompt["5"]?.inputs?.["seed"]);
    const unknown = await worker.run({ workflow: "portrait", promt: "a cat" });
    assert.match(unknown.error ?? "", /^job\.invalid: Cannot run the job: promt: the workflow "portrait" has no such parameter\. It has prompt, /);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

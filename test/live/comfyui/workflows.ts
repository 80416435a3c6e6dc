// What is made of workflows from the nodes of a real ComfyUI, checked by its own POST /prompt.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { ComfyApi } from "../../../src/engines/comfyui/api.ts";
import { builtIn, builtInClasses } from "../../../src/engines/comfyui/built-in.ts";
import { connectComfyui } from "../../../src/engines/comfyui/connect.ts";
import { convertGraph, graphClasses } from "../../../src/engines/comfyui/convert-graph.ts";
import { ServerNodes } from "../../../src/engines/comfyui/nodes.ts";
import { preflight } from "../../../src/engines/comfyui/preflight.ts";
import { classesOf } from "../../../src/engines/comfyui/workflow.ts";
import { baseOf } from "../../../src/engines/request.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { graphCases } from "../../fixtures/comfy-graphs.ts";
import { makeAttempt, smallPng } from "../../fixtures/sdapi-answer.ts";
import type { Fettle } from "../fettle.ts";
import { startWithComfy, urlsOf } from "./setting.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);
const signal = AbortSignal.timeout(400_000);
const dir = mkdtempSync(join(tmpdir(), "fettle-live-workflows-"));
let fettle: Fettle;
let url = "";
let nodes: ServerNodes;

/** Files with the names of Flux and nothing in them: lists are made of names. */
const fluxFiles = [
  "checkpoints/flux1-schnell-fp8.safetensors",
  "diffusion_models/flux1-dev.safetensors",
  "text_encoders/t5xxl_fp16.safetensors",
  "text_encoders/clip_l.safetensors",
  "vae/ae.safetensors",
];

before(async () => {
  if (target.type === "launch") {
    for (const file of fluxFiles) {
      const path = join(target.models, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, "");
    }
  }
  fettle = await startWithComfy(target);
  await fettle.event("supervisor.ready");
  [url = ""] = await urlsOf(fettle);
  nodes = new ServerNodes(new ComfyApi(baseOf(url)));
});

after(async () => {
  await fettle?.stop();
  if (target.type === "launch") for (const file of fluxFiles) rmSync(join(target.models, file), { force: true });
  for (const one of [dir, fettle?.dir]) if (one) rmSync(one, { recursive: true, force: true });
});

const images = [{ name: "in.png", image: smallPng.toString("base64") }];

for (const { title, graph, api } of graphCases)
  test(`a graph of the editor is what its export says, and runs: ${title}`, async () => {
    const { workflow, faults } = convertGraph(graph, await nodes.info(graphClasses(graph), { signal }));
    assert.deepEqual(faults, []);
    assert.deepEqual(workflow, api);
    const readAnswer = (attempt: Parameters<typeof createAnswerReader>[0]) => createAnswerReader(attempt, { blackImages: "warn" });
    const engine = connectComfyui({ name: "comfyui", url, slots: 1 }, { timeoutMs: 240_000, retry: { tries: 1, backoffMs: 1 }, readAnswer });
    await using attempt = await makeAttempt({ workflow: graph, images });
    const result = await engine.run(attempt, { signal });
    assert.equal(result.type, "done", JSON.stringify(result).slice(0, 2000));
    await engine.close();
  });

const models: readonly (readonly [title: string, input: Readonly<Record<string, unknown>>])[] = [
  ["SD 1.5", { checkpoint: "tiny" }],
  ["Flux as a checkpoint", { checkpoint: "flux1-schnell-fp8" }],
  ["Flux in parts", { checkpoint: "flux1-dev" }],
  ["Flux, image to image", { checkpoint: "flux1-dev", init_images: [smallPng.toString("base64")] }],
];
for (const [title, input] of models)
  test(`the built-in workflow fits this server's nodes: ${title}`, { skip: target.type === "running" && "the models are this suite's" }, async () => {
    const found = builtIn({ prompt: "a castle", ...input }, await nodes.info(builtInClasses, { signal, maxAgeMs: 0 }), { checkpoint: undefined });
    assert.ok(found.type === "found", JSON.stringify(found));
    const { workflow } = found;
    const uploads = new Set(found.images.map(({ name }) => name));
    assert.deepEqual(preflight(workflow, await nodes.info(classesOf(workflow), { signal }), { uploads }), []);
    // The real judge. Only Flux's text is too much for files without content: what runs then fails in its first node.
    for (const { name, bytes } of found.images) {
      const form = new FormData();
      form.set("image", new Blob([bytes]), name);
      await fetch(`${url}/upload/image`, { method: "POST", body: form });
    }
    const response = await fetch(`${url}/prompt`, { method: "POST", body: JSON.stringify({ prompt: workflow }) });
    const verdict = (await response.json()) as { readonly node_errors: unknown };
    assert.deepEqual([response.status, verdict.node_errors], [200, {}], JSON.stringify(verdict));
  });

test("a bare prompt picks a checkpoint that is there", async () => {
  const found = builtIn({ prompt: "a castle" }, await nodes.info(builtInClasses, { signal }), { checkpoint: undefined });
  assert.ok(found.type === "found" && typeof found.parameters?.["model"] === "string", JSON.stringify(found));
});

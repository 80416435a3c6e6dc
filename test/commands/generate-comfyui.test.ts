import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startComfyDouble } from "../doubles/comfyui.ts";
import { createPlace } from "./program.ts";

const patient = { timeout: 60_000 };
const isPng = (path: string) => readFileSync(path).subarray(1, 4).toString() === "PNG";
const nodes = {
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 1 } },
  "2": { class_type: "ShowText", inputs: { text: "nothing" } },
  "3": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
};

test("a ComfyUI is recognised by its address; a prompt is enough, and the seed is told", patient, async () => {
  await using place = createPlace();
  await using comfy = await startComfyDouble();
  const args = ["--prompt", "a castle", "--seed", "7", "--width", "64", "--height", "64", "--out", "{seed}.png", "--json"];
  const fettle = place.run(["generate", "--engine-url", comfy.url, ...args]);
  assert.equal(await fettle.ended, 0);
  const { images } = JSON.parse(fettle.out()) as { images: { path: string; seed: number }[] };
  assert.deepEqual([images.length, images[0]?.path, images[0]?.seed], [1, join(place.dir, "7.png"), 7]);
  assert.ok(isPng(join(place.dir, "7.png")));
});

test("--workflow runs a file as it is, or filled by the flags through the mapping beside it", patient, async () => {
  await using place = createPlace();
  await using comfy = await startComfyDouble();
  const path = join(place.dir, "shown.json");
  writeFileSync(path, JSON.stringify(nodes));
  writeFileSync(join(place.dir, "shown.yaml"), "inputs: { prompt: 2.text, seed: 1.color }\n");
  const generate = (...args: string[]) => place.run(["generate", "--engine-url", comfy.url, "--workflow", path, ...args]);
  assert.equal(await generate("--out", "plain.png").ended, 0);
  assert.equal(await generate("--prompt", "a cat", "--seed", "255", "--out", "filled.png").ended, 0);
  assert.ok(isPng(join(place.dir, "plain.png")) && isPng(join(place.dir, "filled.png")));
  assert.deepEqual(
    comfy.prompts.map(({ prompt }) => [prompt["2"]?.inputs?.["text"], prompt["1"]?.inputs?.["color"]]),
    [
      ["nothing", 1],
      ["a cat", 255],
    ],
  );
  const unknown = generate("--steps", "3", "--out", "none.png");
  assert.equal(await unknown.ended, 2);
  assert.match(unknown.said(), /steps: the workflow "shown" has no such parameter\. It has/);
  assert.ok(!existsSync(join(place.dir, "none.png")));
});

test("--workflow is refused where it would make some other image", patient, async () => {
  await using place = createPlace();
  const path = join(place.dir, "shown.json");
  writeFileSync(path, JSON.stringify(nodes));
  const other = place.run(["generate", "--config", place.configure(), "--workflow", path]);
  assert.equal(await other.ended, 1);
  assert.match(other.said(), /Cannot use --workflow: the engine "webui" is of kind a1111.*engine\.unsupported/);
  const filled = place.run(["generate", "--url", "http://127.0.0.1:1", "--workflow", path, "--prompt", "x"]);
  assert.equal(await filled.ended, 2);
  assert.match(filled.said(), /Cannot fill --workflow for --url/);
});

// What is wrong with a workflow is said before ComfyUI is asked, and only where it is certain; the rest is ComfyUI's to say.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readClassNames } from "../../../src/engines/comfyui/class-names.ts";
import { readNodeClass } from "../../../src/engines/comfyui/object-info.ts";
import { preflight } from "../../../src/engines/comfyui/preflight.ts";
import { startComfyDouble } from "../../doubles/comfyui.ts";
import { graphCases } from "../../fixtures/comfy-graphs.ts";
import { smallPng } from "../../fixtures/sdapi-answer.ts";
import { answerOf, connect, say, workflow } from "./connection.ts";

const images = [{ name: "in.png", image: smallPng.toString("base64") }];
const save = (from: string) => ({ class_type: "SaveImage", inputs: { images: [from, 0], filename_prefix: "x" } });
const picture = { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 1 } };

for (const version of ["0.3.64", "0.33.0"] as const) {
  test(`${version}: three mistakes are three errors with node, input and remedy, and nothing is sent`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const result = await client.run({
      workflow: {
        "1": { class_type: "EmptyImage", inputs: { width: 99_999, height: 64, batch_size: 1, color: 1 } },
        "2": { class_type: "ImageInver", inputs: { image: ["1", 0] }, _meta: { title: "Turn it" } },
        "3": save("9"),
      },
    });
    assert.equal(
      say(result),
      'job.invalid Cannot run the workflow: 3 mistakes: node 1 (EmptyImage), width: 99999 is more than 16384 (from 1 to 16384); node 2 (ImageInver "Turn it"): ' +
        'there is no node class "ImageInver" on this server (nearest: "ImageInvert", "ImageScale"); node 3 (SaveImage), images: it is linked to node 9, which does not exist (there is "1", "2", "3").',
    );
    assert.equal(comfy.count("POST /prompt"), 0);
  });

  test(`${version}: what only the server knows is refused with its words and what there is instead`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const absent = await client.run({ workflow: { "1": { class_type: "LoadImage", inputs: { image: "absent.png" } }, "3": save("1") } });
    assert.match(
      say(absent),
      /^engine\.rejected .*node 1 \(LoadImage\), image: Custom validation failed.*Invalid image file: absent\.png \(there is "example\.png"\)\.$/,
    );
    const mismatch = await client.run({
      workflow: { "1": picture, "2": { class_type: "VAEDecode", inputs: { samples: ["1", 0], vae: ["1", 0] } }, "3": save("2"), "4": save("1") },
    });
    assert.match(
      say(mismatch),
      /^engine\.rejected .*2 mistakes: node 2 \(VAEDecode\), samples: Return type mismatch.* \(link it to a node that gives LATENT\)/,
    );
    await comfy.until("an empty queue", () => comfy.worker.remaining === 0);
  });

  test(`${version}: graphs of the editor are sent as its export would be`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    for (const { title, graph, api } of graphCases) {
      answerOf(await client.run({ workflow: graph, images }, { id: "graph" }));
      const text = JSON.stringify(comfy.prompts.at(-1)?.prompt).replaceAll("fettle/graph/0/", "").replaceAll("fettle/graph/", "");
      assert.deepEqual(JSON.parse(text), api, title);
    }
  });
}

test("a class that went away between check and sending is named by either version", async () => {
  for (const version of ["0.3.64", "0.33.0"] as const) {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    comfy.faults.status = (path) => (path === "/object_info/Gone" ? 500 : undefined);
    const result = await client.run({ workflow: { "1": picture, "2": { class_type: "Gone", inputs: { image: ["1", 0] } }, "3": save("2") } });
    assert.match(
      say(result),
      /^engine\.rejected Cannot run the workflow: node 2 \(Gone\): Cannot execute because node Gone does not exist \(install the custom node/,
    );
  }
});

test("a custom node that cannot describe itself: the workflow is sent unchecked, with a warning", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  comfy.faults.status = (path) => (path === "/object_info/OwnChoice" || path === "/object_info" ? 500 : undefined);
  const result = await client.run({ workflow: workflow(1, { through: { class_type: "OwnChoice", inputs: { choice: "c" } } }) });
  answerOf(result);
  assert.deepEqual(result.type === "done" && result.output.warnings, ["ComfyUI cannot describe OwnChoice (see its log): these nodes were sent unchecked."]);
});

test("a custom node's own idea of its choices is its own; nodes that lead nowhere are nobody's matter", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const leftover = { "8": { class_type: "VAEDecode", inputs: {} }, "9": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "gone.safetensors" } } };
  answerOf(await client.run({ workflow: { ...workflow(1, { through: { class_type: "OwnChoice", inputs: { choice: "c" } } }), ...leftover } }));
});

test("a class is asked for once; a model that came in between is seen", async () => {
  const checkpoints = ["first.safetensors"];
  await using comfy = await startComfyDouble({ checkpoints });
  await using client = connect(comfy.url);
  const job = (checkpoint: string) => ({ prompt: "x", steps: 1, width: 64, height: 64, checkpoint });
  answerOf(await client.run(job("first")));
  const before = comfy.count("GET /object_info/KSampler");
  answerOf(await client.run(job("first")));
  assert.equal(comfy.count("GET /object_info/KSampler"), before);
  assert.match(say(await client.run(job("second"))), /^job\.invalid Cannot run the job: model: the server has no model "second"/);
  checkpoints.push("second.safetensors");
  answerOf(await client.run(job("second")));
});

test("a circle is named, a chain of thousands is none", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const invert = (from: string) => ({ class_type: "ImageInvert", inputs: { image: [from, 0] } });
  assert.match(
    say(await client.run({ workflow: { "1": invert("3"), "3": invert("1"), "2": save("1") } })),
    /^job\.invalid Cannot run the workflow: node 3 \(ImageInvert\), image: it is linked in a circle/,
  );
  const chain = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`n${index}`, index === 0 ? picture : invert(`n${index - 1}`)]));
  const info = new Map(
    ["EmptyImage", "ImageInvert", "SaveImage"].map((name) => [name, readNodeClass(name, { output: ["IMAGE"], output_node: name === "SaveImage" })]),
  );
  assert.deepEqual(preflight({ ...chain, end: save("n1999") }, info), []);
});

test("the names of thousands of classes, in chunks of any size", async () => {
  const names = Array.from({ length: 3000 }, (_, index) => `Näme "${index}" \\ [{`);
  const body = Buffer.from(JSON.stringify(Object.fromEntries(names.map((name) => [name, { input: { required: { "a}": [["x\\", '"{']] } } }]))));
  for (const size of [1, 7, 4096]) {
    const chunks = async function* (): AsyncIterable<Uint8Array> {
      for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size);
    };
    assert.deepEqual(await readClassNames(chunks()), names);
  }
});

test("a strange class among thousands gets the nearest names", async () => {
  await using comfy = await startComfyDouble({ moreClasses: 5000 });
  await using client = connect(comfy.url);
  const result = await client.run({ workflow: { "1": { class_type: "SaveImages", inputs: {} } } });
  assert.match(say(result), /there is no node class "SaveImages" on this server \(nearest: "SaveImage", /);
});

const hostile: readonly (readonly [title: string, input: Readonly<Record<string, unknown>>])[] = [
  ["no workflow at all", { workflow: {} }],
  ["a number", { workflow: 7 }],
  ["a list", { workflow: [] }],
  ["a node without a class", { workflow: { "1": { inputs: {} } } }],
  ["inputs that are no map", { workflow: { "1": { class_type: "SaveImage", inputs: [1, 2] } } }],
  [
    "a link in circles",
    { workflow: { "1": { class_type: "ImageInvert", inputs: { image: ["1", 0] } }, "2": save("1"), "3": { class_type: "Nope", inputs: {} } } },
  ],
  ["a class with slashes", { workflow: { "1": { class_type: "../../queue", inputs: {} } } }],
  ["a prototype's name", { workflow: { constructor: { class_type: "__proto__", inputs: { __proto__: ["x", 0] } } } }],
  ["an image that is none", { workflow: workflow(), images: [{ name: "a.png", image: "" }] }],
  ["a name that leads out", { workflow: "../../etc/passwd" }],
  ["a graph without nodes", { workflow: { nodes: [], links: [] } }],
  ["a graph of null", { workflow: { nodes: [null, 3, { id: 1 }], links: [null, [], {}] } }],
];
for (const [title, input] of hostile)
  test(`hostile input is a failed job, not a thrown one: ${title}`, async () => {
    await using comfy = await startComfyDouble();
    await using client = connect(comfy.url);
    const result = await client.run(input);
    assert.match(say(result), /^(job\.invalid|engine\.rejected) Cannot /);
  });

import assert from "node:assert/strict";
import { test } from "node:test";
import { startComfyDouble } from "../../doubles/comfyui.ts";
import { answerOf, connect, failing, say, workflow } from "./connection.ts";

for (const version of ["0.3.64", "0.33.0"] as const) {
  test(`${version}: a workflow gives its picture under the name it asked for, in a folder of its own on the server`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const answer = answerOf(await client.run({ workflow: workflow() }, { id: "a/b" }));
    assert.deepEqual(answer.outputs, [{ node: "3", filename: "x_00001_.png", subfolder: "mine" }]);
    assert.equal(Buffer.from(answer.images[0] ?? "", "base64").readUInt32BE(0), 0x89504e47);
    assert.equal(comfy.prompts[0]?.prompt["3"]?.inputs?.["filename_prefix"], "fettle/a_b/mine/x");
  });

  test(`${version}: the same workflow again makes a file again, one without a prefix is served from the cache`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const first = answerOf(await client.run({ workflow: workflow() }));
    const again = answerOf(await client.run({ workflow: workflow() }));
    assert.notDeepEqual(first.outputs, again.outputs);
    const preview = answerOf(await client.run({ workflow: workflow(1, { output: "PreviewImage" }) }));
    assert.deepEqual(answerOf(await client.run({ workflow: workflow(1, { output: "PreviewImage" }) })).outputs, preview.outputs);
  });

  test(`${version}: a picture that only the socket carries`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const answer = answerOf(await client.run({ workflow: workflow(1, { output: "SaveImageWebsocket" }) }));
    assert.deepEqual([answer.images.length, answer.outputs[0]?.filename], [1, "websocket_00001.png"]);
    assert.equal(comfy.prompts[0]?.prompt["3"]?.class_type, "SaveImageWebsocket");
  });

  test(`${version}: a prompt for text, on the checkpoint that is there, with growing progress and previews when wanted`, async () => {
    await using comfy = await startComfyDouble({ version });
    await using client = connect(comfy.url);
    const fractions: number[] = [];
    const previews: string[] = [];
    const result = await client.run(
      { prompt: "a castle", steps: 4, width: 64, height: 64 },
      {
        wantsPreviews: () => true,
        onProgress: ({ fraction, preview }) => void (fractions.push(fraction), preview && previews.push(preview.mime)),
      },
    );
    assert.equal(answerOf(result).parameters?.["model"], "tiny.safetensors");
    assert.deepEqual(
      fractions.toSorted((a, b) => a - b),
      fractions,
    );
    assert.equal(fractions.at(-1), 1);
    assert.deepEqual(previews, ["image/jpeg", "image/jpeg", "image/jpeg", "image/jpeg"]);
  });
}

test("image to image: the picture is uploaded into the job's own folder and named in the workflow", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const images = [{ name: "in.png", image: `data:image/png;base64,${Buffer.from("pixels").toString("base64")}` }];
  const input = {
    workflow: {
      "1": { class_type: "LoadImage", inputs: { image: "in.png" } },
      "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
    },
    images,
  };
  answerOf(await client.run(input, { id: "one" }));
  answerOf(await client.run(input, { id: "two" }));
  assert.deepEqual([...comfy.uploads.keys()], ["fettle/one/0/in.png", "fettle/two/0/in.png"]);
  assert.equal(comfy.prompts[1]?.prompt["1"]?.inputs?.["image"], "fettle/two/0/in.png");
});

test("videos and texts are answered beside pictures, and what the caller brought is not", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const answer = answerOf(
    await client.run({
      workflow: {
        ...workflow(),
        "4": { class_type: "SaveVideo", inputs: { image: ["2", 0], filename_prefix: "clip", bytes: 200_000 } },
        "5": { class_type: "ShowText", inputs: { text: "seen" } },
      },
    }),
  );
  assert.equal(answer.images.length, 1);
  const [video] = answer.files ?? [];
  assert.deepEqual([video?.["mime"], Buffer.from(answer.contents?.[0] ?? "", "base64").length], ["video/mp4", 200_000]);
  assert.deepEqual(answer.texts, [{ node: "5", text: "seen" }]);
});

test("the key for paid nodes goes with the prompt and nowhere else", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url, { settings: { comfyOrgApiKey: "of-the-config" } });
  answerOf(await client.run({ workflow: workflow(), comfy_org_api_key: "of-the-job" }));
  answerOf(await client.run({ workflow: workflow(2) }));
  assert.deepEqual(
    comfy.prompts.map(({ extra }) => extra["api_key_comfy_org"]),
    ["of-the-job", "of-the-config"],
  );
});

const errors: readonly (readonly [kind: string, message: string, expected: string, remedy: string | undefined])[] = [
  ["torch.OutOfMemoryError", "Allocation on device. This error means you ran out of memory on your GPU.", "engine.out-of-memory retryable", "free-memory"],
  ["torch.AcceleratorError", "CUDA error: out of memory", "engine.out-of-memory retryable", "free-memory"],
  [
    "RuntimeError",
    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
    "engine.out-of-memory retryable",
    "free-memory",
  ],
  ["torch.AcceleratorError", "CUDA error: an illegal memory access was encountered", "engine.cuda-error retryable", "restart"],
  [
    "safetensors._safetensors_rust.SafetensorError",
    "Error while deserializing header: incomplete metadata, file not fully covered",
    "engine.failed",
    undefined,
  ],
  ["ValueError", "could not find CUDA error: illegal memory access", "engine.failed", undefined],
];
for (const [kind, message, expected, remedy] of errors)
  test(`a node's ${kind} "${message.slice(0, 40)}" is ${expected}`, async () => {
    await using comfy = await startComfyDouble();
    await using client = connect(comfy.url);
    const result = await client.run(failing(kind, message));
    assert.ok(say(result).startsWith(`${expected} Cannot run the workflow: node 2 (Fail) failed: `), say(result));
    assert.equal(result.type === "failed" ? result.remedy : undefined, remedy);
  });

test("somebody interrupts it on the engine: it may run again", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const running = client.run({ workflow: workflow(1, { through: { class_type: "Hold", inputs: { blocking: false } } }) });
  await comfy.untilHolding();
  comfy.worker.interrupt();
  assert.equal(say(await running), "engine.failed retryable Cannot run the job: somebody interrupted it on the engine.");
});

test("memory is freed on request", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  await client.engine.freeMemory?.({ signal: AbortSignal.timeout(10_000) });
  assert.equal(comfy.worker.freed, 1);
});

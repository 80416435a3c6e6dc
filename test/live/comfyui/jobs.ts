// Everything a job can be, on one fettle and one real ComfyUI; the tests run in this order and leave it running for the next.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startRunpodPlatform } from "../../doubles/runpod-platform.ts";
import { binary, type Fettle } from "../fettle.ts";
import { historyOf, noOp, publishedExample, startWithComfy, textJob, urlsOf } from "./setting.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);
const dir = mkdtempSync(join(tmpdir(), "fettle-live-comfy-"));
const say = (line: string) => console.log(`  ${line}`);
const platform = await startRunpodPlatform();
let fettle: Fettle;
let url = "";
let checkpoint = "";
let image = "";

after(async () => {
  await fettle?.stop();
  await platform.close();
  for (const one of [dir, fettle?.dir]) if (one) rmSync(one, { recursive: true, force: true });
});

interface Reply {
  readonly status: string;
  readonly output?: Readonly<Record<string, unknown>>;
  readonly error?: string;
  readonly errorCode?: string;
  readonly errorDetails?: Readonly<Record<string, unknown>>;
  readonly executionTime?: number;
}

const run = async (input: Readonly<Record<string, unknown>>) => (await fettle.ask("POST", "/runsync?wait=240000", { input })) as unknown as Reply;

function outputOf(reply: Reply): Readonly<Record<string, unknown>> {
  assert.equal(reply.status, "COMPLETED", JSON.stringify(reply).slice(0, 2000));
  return reply.output ?? {};
}

function assertPng(base64: unknown): void {
  assert.deepEqual([...Buffer.from(String(base64), "base64").subarray(1, 4)], [...Buffer.from("PNG")]);
}

/** worker-comfyui's answer. */
const picturesOf = (reply: Reply) => outputOf(reply)["images"] as readonly { readonly filename: string; readonly type: string; readonly data: string }[];

test("fettle boots it and takes jobs", async () => {
  fettle = await startWithComfy(target, { env: platform.env() });
  const { afterMs } = await fettle.event("supervisor.ready");
  await fettle.event("worker.listening");
  [url = ""] = await urlsOf(fettle);
  const stats = (await (await fetch(`${url}/system_stats`)).json()) as { system: { comfyui_version: string } };
  const info = (await (await fetch(`${url}/object_info/CheckpointLoaderSimple`)).json()) as Record<string, { input: { required: { ckpt_name: [string[]] } } }>;
  checkpoint = info["CheckpointLoaderSimple"]?.input.required.ckpt_name[0][0] ?? "";
  say(`ComfyUI ${stats.system.comfyui_version} with ${checkpoint || "no checkpoint"}, ready after ${Math.round(afterMs)} ms`);
});

test("HTTP: a workflow without a checkpoint", async () => {
  const [picture] = picturesOf(await run({ workflow: noOp() }));
  assertPng(picture?.data);
  assert.deepEqual([picture?.filename, picture?.type], ["no-op_00001_.png", "base64"]);
});

test("HTTP: text to image", async () => {
  const output = outputOf(await run(textJob()));
  image = (output["images"] as string[])[0] ?? "";
  assertPng(image);
});

test("HTTP: image to image, with upload", async () => {
  const output = outputOf(await run(textJob({ init_images: [image], denoising_strength: 0.5 })));
  assertPng((output["images"] as string[])[0]);
  const workflow = {
    "1": { class_type: "LoadImage", inputs: { image: "in.png" } },
    "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "inverted" } },
  };
  assertPng(picturesOf(await run({ workflow, images: [{ name: "in.png", image }] }))[0]?.data);
});

test("RunPod: the three of them", async () => {
  const jobs = { "no-checkpoint": { workflow: noOp() }, text: textJob(), image: textJob({ init_images: [image], denoising_strength: 0.5 }) };
  for (const [id, input] of Object.entries(jobs)) platform.submit({ id, input });
  await platform.waitForAll({ signal: AbortSignal.timeout(240_000) });
  for (const id of Object.keys(jobs)) {
    const posts = platform.results(id);
    assert.equal(posts.length, 1);
    assert.match(posts[0]?.text ?? "", /^\{"output":\{.*"images":\[/s);
  }
  assert.deepEqual(platform.violations, []);
});

async function generate(...args: string[]): Promise<string> {
  const child = spawn(binary, ["generate", ...args], { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  const parts: Record<"stdout" | "stderr", string> = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) child[name].setEncoding("utf8").on("data", (text: string) => (parts[name] += text));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 0, parts.stderr);
  return parts.stdout.trim();
}

test("generate: the three of them", async () => {
  const write = (name: string, value: unknown) => {
    writeFileSync(join(dir, name), JSON.stringify(value));
    return join(dir, name);
  };
  const files = [
    await generate("--engine-url", url, "--workflow", write("no-op.json", noOp()), "--out", "a.png"),
    await generate("--engine-url", url, "--prompt", "a castle", "--steps", "4", "--width", "64", "--height", "64", "--seed", "11", "--out", "b.png"),
    await generate("--engine-url", url, "--input", write("image.json", { input: textJob({ init_images: [image] }) }), "--out", "c.png"),
  ];
  for (const file of files) assertPng(readFileSync(file).toString("base64"));
});

test("200 jobs in a row: each answered, each executed once", async () => {
  const before = new Set(await historyOf(url));
  const since = performance.now();
  for (let index = 0; index < 200; index++) assertPng(picturesOf(await run({ workflow: noOp() }))[0]?.data);
  const ms = (performance.now() - since) / 200;
  const made = (await historyOf(url)).filter((id) => !before.has(id));
  assert.equal(made.length, 200);
  say(`${ms.toFixed(1)} ms per job, HTTP to HTTP`);
});

test(
  "worker-comfyui's published example gives its published output",
  { skip: target.type === "running" && "the checkpoint of a server of somebody else's may be large" },
  async () => {
    const output = outputOf(await run({ workflow: publishedExample(checkpoint) }));
    assert.deepEqual(Object.keys(output), ["images"]);
    const [picture, ...more] = output["images"] as Readonly<Record<string, unknown>>[];
    assert.deepEqual([more.length, Object.keys(picture ?? {}).toSorted()], [0, ["data", "filename", "type"]]);
    assert.deepEqual([picture?.["filename"], picture?.["type"]], ["ComfyUI_00001_.png", "base64"]);
    assertPng(picture?.["data"]);
  },
);

test("its example with the checkpoint that is not here: one mistake, with the nearest", async () => {
  const { status, errorCode, error } = await run({ workflow: publishedExample("flux1-dev-fp8.safetensors") });
  assert.deepEqual([status, errorCode], ["FAILED", "job.invalid"]);
  assert.match(error ?? "", /node 30 \(CheckpointLoaderSimple "Load Checkpoint"\), ckpt_name: there is no "flux1-dev-fp8\.safetensors" \(/);
});

test("three mistakes are three errors, each with node, input and remedy", async () => {
  const workflow = {
    "1": { class_type: "EmptyImage", inputs: { width: 99_999, height: 64, batch_size: 1, color: 1 } },
    "2": { class_type: "ImageInver", inputs: { image: ["1", 0] } },
    "3": { class_type: "SaveImage", inputs: { images: ["9", 0], filename_prefix: "x" } },
  };
  const { errorCode, error = "" } = await run({ workflow });
  assert.equal(errorCode, "job.invalid");
  assert.match(error, /3 mistakes: /);
  assert.match(error, /node 1 \(EmptyImage\), width: 99999 is more than \d+ \(from 1 to \d+\)/);
  assert.match(error, /node 2 \(ImageInver\): there is no node class "ImageInver" on this server \(nearest: "ImageInvert"/);
  assert.match(error, /node 3 \(SaveImage\), images: it is linked to node 9, which does not exist \(there is "1", "2", "3"\)/);
});

test("what only the server can know is refused with the same words", async () => {
  const workflow = { "1": { class_type: "LoadImage", inputs: { image: "absent.png" } }, "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } } };
  const { errorCode, error } = await run({ workflow });
  assert.equal(errorCode, "engine.rejected");
  assert.match(error ?? "", /node 1 \(LoadImage\).*Invalid image file: .*absent\.png/);
});

test("cancel in mid-job: the engine lets go, the next job is whole", async () => {
  await fettle.ask("POST", "/run", { id: "long", input: textJob({ steps: 2000 }) });
  await fettle.event("job.started", ({ job }) => job === "long");
  const since = performance.now();
  await fettle.ask("POST", "/cancel/long");
  const reply = await run(textJob());
  outputOf(reply);
  say(`cancelled, and the next one done, within ${Math.round(performance.now() - since)} ms`);
  assert.equal((await fettle.ask("GET", "/status/long")).status, "CANCELLED");
});

test("damaged model files say so", { skip: target.type === "running" && "files are put only among the models of this suite" }, async () => {
  if (target.type !== "launch") return;
  mkdirSync(join(target.models, "checkpoints"), { recursive: true });
  writeFileSync(join(target.models, "checkpoints", "zz-damaged.safetensors"), Buffer.alloc(100, 1));
  const { errorCode, error } = await run(textJob({ checkpoint: "zz-damaged" }));
  assert.equal(errorCode, "engine.failed", error);
  assert.match(error ?? "", /node 1 \(CheckpointLoaderSimple\) failed: .*damaged or only partly downloaded/);
  rmSync(join(target.models, "checkpoints", "zz-damaged.safetensors"));
});

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { startRunpodPlatform } from "../../doubles/runpod-platform.ts";
import { startTinyServer } from "../../doubles/tiny-server.ts";
import { makePng } from "../../fixtures/png.ts";
import { createScriptedEngine } from "../scripted-engine.ts";
import { httpConfig, limit, runpodConfig, startRig } from "../worker-rig.ts";
import { usualInputs } from "./rules.ts";

const png = makePng({ width: 8, height: 8 });
const inputs = { ...usualInputs, allowPrivate: true, allowHosts: [] };
const a1111 = () => ({ ...createScriptedEngine(), kind: "a1111" });

async function post(url: string, body: unknown) {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body), ...limit(60_000) });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

test("a job that waits for its download holds no engine", { timeout: 60_000 }, async () => {
  const pending: ServerResponse[] = [];
  await using files = await startTinyServer((_request, response) => void pending.push(response));
  await using platform = await startRunpodPlatform({ keepBodyBytes: Infinity });
  const engine = a1111();
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 2 } }, jobs: { inputs } });
  platform.submit({ id: "fetching", input: { init_images: [`${files.url}/x.png`] } });
  await files.asked("/x.png");
  platform.submit({ id: "quick", input: { prompt: "a", num_inference_steps: 4, stepz: 1 } });
  const quick = await platform.waitForResult("quick", limit());
  assert.deepEqual(JSON.parse(quick.text ?? "").output.echo, { prompt: "a", stepz: 1, steps: 4 });
  await rig.untilLine(/input\.stepz is no field of A1111's txt2img, so the engine ignores it\. Did you mean steps\?/);
  assert.deepEqual(
    engine.attempts.map(({ jobId }) => jobId),
    ["quick"],
  );
  pending[0]?.end(png);
  const fetched = await platform.waitForResult("fetching", limit());
  assert.deepEqual(JSON.parse(fetched.text ?? "").output.echo, { init_images: [png.toString("base64")] });
});

test("a job that is cancelled while it waits for its download ends as cancelled", { timeout: 60_000 }, async () => {
  await using files = await startTinyServer(() => {});
  const engine = a1111();
  await using rig = await startRig(engine, { sources: { http: httpConfig() }, jobs: { inputs } });
  const url = await rig.untilListening();
  await post(`${url}/run`, { id: "one", input: { mask: `${files.url}/x.png` } });
  await files.asked("/x.png");
  await post(`${url}/cancel/one`, {});
  assert.equal((await post(`${url}/runsync`, { id: "one", input: { mask: `${files.url}/x.png` } })).json["status"], "CANCELLED");
  assert.equal(engine.attempts.length, 0);
});

test("over HTTP a fault that shows at once is a 422 with its field, and one found later names it too", { timeout: 60_000 }, async () => {
  const engine = a1111();
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  const { status, json } = await post(`${url}/runsync`, { id: "bad", input: { guidance_scale: "lots" } });
  assert.deepEqual([status, json["code"], json["path"]], [422, "job.invalid", "input.guidance_scale"]);
  assert.match(String(json["error"]), /expected a number, not "lots"/);
  assert.equal((await fetch(`${url}/status/bad`, limit())).status, 404);
  const later = await post(`${url}/runsync`, { input: { init_images: ["http://127.0.0.1:9/x.png"] } });
  assert.deepEqual([later.status, later.json["status"], later.json["errorCode"]], [200, "FAILED", "job.invalid"]);
  assert.match(
    String(later.json["error"]),
    /^job\.invalid: Cannot run the job: input\.init_images\[0\]: cannot be fetched: 127\.0\.0\.1 cannot be asked: it is not a public address\./,
  );
  assert.equal(engine.attempts.length, 0);
});

test("a call that a job names reaches the engine's connection", { timeout: 60_000 }, async () => {
  const engine = a1111();
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  await post(`${url}/runsync`, { input: { api: { method: "GET", endpoint: "/sdapi/v1/samplers" }, payload: {} } });
  await post(`${url}/runsync`, { input: { api: { method: "POST", endpoint: "/sdapi/v1/txt2img" }, payload: { prompt: "a" } } });
  assert.deepEqual(
    engine.attempts.map(({ call, input, answersImages }) => [call, input, answersImages]),
    [
      ["GET /sdapi/v1/samplers", {}, false],
      ["POST /sdapi/v1/txt2img", { prompt: "a" }, undefined],
    ],
  );
});

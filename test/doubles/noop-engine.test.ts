import assert from "node:assert/strict";
import { test } from "node:test";
import { type NoopEngine, startNoopEngine } from "./noop-engine.ts";

test("a held job ends when it is released, and is counted once", async () => {
  await using engine = await startNoopEngine("--hold");
  const job = txt2img(engine, { prompt: "a" });
  await engine.waitFor({ running: 1 });
  await engine.release("a");
  const answer = (await (await job).json()) as { images: string[]; parameters: { prompt: string }; info: string };
  assert.equal(answer.images[0]?.length, 1024);
  assert.equal(answer.parameters.prompt, "a");
  assert.equal((JSON.parse(answer.info) as { prompt: string }).prompt, "a");
  assert.deepEqual((await engine.stats()).prompts, { a: { started: 1, finished: 1 } });
});

test("readiness, errors, sizes and death follow the job's own wish", async () => {
  await using engine = await startNoopEngine("--not-ready");
  assert.equal((await fetch(`${engine.url}/sdapi/v1/sd-models`)).status, 503);
  await engine.becomeReady();
  assert.equal((await fetch(`${engine.url}/sdapi/v1/sd-models`)).status, 200);
  const failed = await txt2img(engine, { noop: { status: 500 } });
  assert.equal(failed.status, 500);
  const large = await txt2img(engine, { override_settings: { noop: { sizeBytes: 400_000 } } });
  assert.equal(((await large.json()) as { images: string[] }).images[0]?.length, 400_000);
  await assert.rejects(txt2img(engine, { noop: { die: true } }));
  await engine.exited;
});

test("interrupt ends what runs with a 200, as A1111 does", async () => {
  await using engine = await startNoopEngine();
  const job = txt2img(engine, { prompt: "long", noop: { hold: true } });
  await engine.waitFor({ running: 1 });
  await fetch(`${engine.url}/sdapi/v1/interrupt`, { method: "POST" });
  assert.equal((await job).status, 200);
  assert.equal((await engine.stats()).interrupts, 1);
});

function txt2img(engine: NoopEngine, body: unknown): Promise<Response> {
  return fetch(`${engine.url}/sdapi/v1/txt2img`, { method: "POST", body: JSON.stringify(body) });
}

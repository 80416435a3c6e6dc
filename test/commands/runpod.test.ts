// The RunPod worker as a container's whole life: its log, its end, its silence.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { limit, startFettle } from "./fettle-at-work.ts";

const names = { takeUrl: "GET_JOB", doneUrl: "POST_OUTPUT", pingUrl: "PING" };
const urls = Object.entries(names).map(([key, name]) => `${key}: "\${RUNPOD_WEBHOOK_${name}}"`);
const runpod = (more = "") =>
  `{ runpod: { ${urls.join(", ")}, apiKey: "\${RUNPOD_AI_API_KEY}", podId: "\${RUNPOD_POD_ID}", endpointId: "\${RUNPOD_ENDPOINT_ID}", pingInterval: "100"${more} } }`;

test("On the platform the log is JSON with the job's id, and its two milestones", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  await using platform = await startRunpodPlatform();
  await using fettle = await startFettle(engine.url, runpod(), { env: { ...platform.env(), FETTLE_LOG_FORMAT: "auto" } });
  platform.submit({ id: "job-1", input: { prompt: "a" } });
  await fettle.untilLog(/\{"requestId":"job-1","message":"Started\.","level":"INFO"\}\n/);
  await fettle.untilLog(/\{"requestId":"job-1","message":"Finished\.","level":"INFO"\}\n/);
  await fettle.untilLog(/\{"requestId":null,"message":"worker is ready[^}]*,"level":"INFO"\}\n/);
  assert.equal(await fettle.stop(), 0);
});

test("A machine that is not fit ends the container with 1 before the first job", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "job", input: {} });
  await using fettle = await startFettle(engine.url, runpod(", fitness: { minMemoryGb: 9999 }"), { env: platform.env() });
  const ping = await platform.waitForPing((query) => query.get("status") === "unhealthy", { ...limit(), past: true });
  assert.match(ping.query.get("reason") ?? "", /^too little memory: .* 9999 GiB required$/);
  assert.deepEqual([(await fettle.exited)[0], platform.calls("job-take").length], [1, 0]);
});

test("With refreshWorker the container ends with 0 after its one job", { timeout: 60_000 }, async () => {
  await using engine = await startNoopEngine();
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "one", input: {} }, { id: "two", input: {} });
  await using fettle = await startFettle(engine.url, runpod(", refreshWorker: true"), { env: platform.env() });
  assert.deepEqual([(await fettle.exited)[0], platform.results("one").length, platform.summary().waiting], [0, 1, 1]);
  assert.match(platform.results("one")[0]?.text ?? "", /,"stopPod":true\}$/);
});

test("An engine that dies at every start silences the pings", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = "{ kind: a1111, directory: /tmp, python: /bin/false, allocator: none, restart: { first: 1ms, max: 5ms, maxRestarts: 3 } }";
  await using fettle = await startFettle(engine, runpod(), { env: platform.env() });
  await fettle.untilLog(/RunPod gets no pings from here on/);
  assert.equal(platform.calls("job-take").length, 0);
  assert.equal(await fettle.stop(), 0);
});

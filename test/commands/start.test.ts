import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { createPlace } from "./program.ts";

const limit = () => ({ signal: AbortSignal.timeout(30_000) });
const http = "sources: { http: { port: 0 } }";

async function ask(url: string, input: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ input }), ...limit() });
  return (await response.json()) as Record<string, unknown>;
}

test("start boots the engine and the worker, answers a job in the engine's own words and ends with 0 on SIGTERM", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const fettle = place.run(["start", "--config", place.configure(http), "--json"]);
  const [, engine] = await fettle.untilSaid(/webui \| listening (\d+)/);
  const [, url = ""] = await fettle.untilSaid(/Jobs are taken at (\S+)/);
  await fettle.untilSaid(/webui ready .* at /);
  const answer = await ask(url, { prompt: "a castle", steps: 3 });
  assert.equal(answer["status"], "COMPLETED");
  assert.deepEqual(Object.keys(answer["output"] as object), ["images", "parameters", "info"]);
  assert.deepEqual((answer["output"] as { parameters: unknown }).parameters, { prompt: "a castle", steps: 3 });
  assert.equal(await fettle.stop(), 0);
  assert.match(fettle.said(), /^Worker Initiated\nStarting WebUI API\n/m);
  const { exitCode, timeline } = JSON.parse(fettle.out()) as { exitCode: number; timeline: { stage: string; endedMs?: number }[] };
  assert.equal(exitCode, 0);
  assert.deepEqual(
    timeline
      .filter(({ endedMs }) => endedMs !== undefined)
      .map(({ stage }) => stage)
      .sort(),
    ["first job", "set-up", "webui ready", "worker ready"],
  );
  await assert.rejects(fetch(`http://127.0.0.1:${engine}/stats`), "the engine is gone");
});

test("--dry-run prints the plan of a1111-runpod with the seed's words, and starts nothing", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const fettle = place.run(["start", "--profile", "a1111-runpod", "--dry-run", "--json"], {
    env: { RUNPOD_AI_API_KEY: "very-secret-key", FETTLE_API_KEY: "other-secret" },
  });
  assert.equal(await fettle.ended, 0);
  const plan = JSON.parse(fettle.out()) as {
    profile: string;
    services: { name: string; argv: string[] }[];
    stopBudgetMs: number;
    order: string[][];
    engines: unknown[];
  };
  assert.equal(
    plan.services.find(({ name }) => name === "webui")?.argv.join(" "),
    "python /stable-diffusion-webui/webui.py --xformers --no-half-vae --skip-python-version-check --skip-torch-cuda-test --skip-install --ckpt /model.safetensors " +
      "--opt-sdp-attention --disable-safe-unpickle --port 3000 --api --nowebui --skip-version-check --no-hashing --no-download-sd-model",
  );
  assert.deepEqual([plan.profile, plan.stopBudgetMs, plan.engines.length], ["a1111-runpod", 8000, 1]);
  assert.doesNotMatch(fettle.out() + fettle.said(), /secret/);
  assert.deepEqual([existsSync(join(place.dir, "run")), existsSync(join(place.dir, "state"))], [false, false]);
});

test("--engine-url uses the engine that runs there and launches none", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  await using engine = await startNoopEngine();
  const fettle = place.run(["start", "--config", place.configure(http), "--engine-url", engine.url]);
  const [, url = ""] = await fettle.untilSaid(/Jobs are taken at (\S+)/);
  assert.equal((await ask(url, { prompt: "there" }))["status"], "COMPLETED");
  assert.equal((await engine.stats()).prompts["there"]?.finished, 1);
  assert.equal(await fettle.stop(), 0);
  assert.doesNotMatch(fettle.said(), /Starting WebUI API/);
});

test("an essential handler of the user starts once the engine is ready, and its exit code is fettle's", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const handler = join(place.dir, "handler.sh");
  writeFileSync(handler, "echo the handler runs\nexit 7\n");
  const services = `services: { handler: { command: [/bin/sh, ${handler}], onlyIfExists: ${handler}, replacesSource: http, essential: true, restart: { policy: never }, dependsOn: { webui: ready } } }`;
  const fettle = place.run(["start", "--config", place.configure(`${http}\n${services}`)]);
  assert.equal(await fettle.ended, 7);
  assert.match(fettle.said(), /webui is ready[\s\S]*handler \| the handler runs/);
  assert.doesNotMatch(fettle.said(), /Jobs are taken/);
});

test("an impossible plan ends with 2 before anything starts", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const services = "services: { a: { command: [/bin/true], dependsOn: { b: ready } }, b: { command: [/bin/true], dependsOn: { a: ready } } }";
  const fettle = place.run(["start", "--config", place.configure(services), "--json"]);
  assert.equal(await fettle.ended, 2);
  const { error } = JSON.parse(fettle.out()) as { error: { code: string; message: string } };
  assert.equal(error.code, "plan.cycle");
  assert.match(error.message, /a → b → a/);
  assert.doesNotMatch(fettle.said(), /Worker Initiated/);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { planOfProfile } from "./plan-of.ts";

// Seed 000, word for word.
const seedArgv =
  "python /stable-diffusion-webui/webui.py --xformers --no-half-vae --skip-python-version-check --skip-torch-cuda-test --skip-install --ckpt /model.safetensors " +
  "--opt-sdp-attention --disable-safe-unpickle --port 3000 --api --nowebui --skip-version-check --no-hashing --no-download-sd-model";
const runpodEnv = { RUNPOD_WEBHOOK_GET_JOB: "http://127.0.0.1:1/take/$ID" };

const find = ({ plan }: ReturnType<typeof planOfProfile>, name: string) => plan.services.find((service) => service.name === name);

test("the webui is started with the seed's words", () => {
  const built = planOfProfile("a1111-runpod");
  const webui = find(built, "webui");
  assert.deepEqual(webui?.argv, seedArgv.split(" "));
  // On loopback, as the seed says; its own words alone would listen everywhere.
  assert.deepEqual(webui?.env, { PYTHONUNBUFFERED: "true", COMMANDLINE_ARGS: "--server-name 127.0.0.1 " });
  assert.deepEqual(webui?.readiness, {
    type: "http",
    url: "http://127.0.0.1:3000/sdapi/v1/sd-models",
    periodMs: 200,
    timeoutMs: 120_000,
    startupMs: 1_800_000,
    logEvery: 15,
    failures: 3,
    watchMs: 10_000,
  });
  assert.deepEqual(
    built.plan.engines.map(({ url, service }) => ({ url, service })),
    [{ url: "http://127.0.0.1:3000", service: "webui" }],
  );
});

test("the seed's three lines and its expectations are in the plan, in its order", () => {
  const { plan } = planOfProfile("a1111-runpod", { env: runpodEnv });
  assert.deepEqual([...plan.announce, ...plan.services.map(({ announce }) => announce)], ["Worker Initiated", "Starting WebUI API", "Starting RunPod Handler"]);
  assert.deepEqual([plan.expectSetup, ...plan.services.map(({ expect }) => expect)], [{ maxMs: 1000 }, { minMs: 30_000, maxMs: 60_000 }, { maxMs: 5000 }]);
});

test("outside RunPod the RunPod source is off and says nothing", () => {
  const built = planOfProfile("a1111-runpod");
  assert.equal(built.sources.runpod?.enabled, false);
  assert.equal(find(built, "worker")?.announce, undefined);
});

test("tcmalloc is preloaded when it was found, after what is preloaded already", () => {
  const tcmalloc = "/lib/libtcmalloc.so.4";
  assert.equal(find(planOfProfile("a1111-runpod", { facts: { tcmalloc } }), "webui")?.env["LD_PRELOAD"], tcmalloc);
  assert.equal(find(planOfProfile("a1111-runpod", { facts: { tcmalloc, preload: "/lib/a.so" } }), "webui")?.env["LD_PRELOAD"], `/lib/a.so:${tcmalloc}`);
  assert.deepEqual(planOfProfile("a1111-runpod", { facts: { tcmalloc } }).plan.warnings, []);
});

test("without tcmalloc the webui starts all the same, with a warning that names the package", () => {
  const built = planOfProfile("a1111-runpod");
  assert.equal(find(built, "webui")?.env["LD_PRELOAD"], undefined);
  assert.match(built.plan.warnings.join(), /google-perftools/);
});

test("a handler.py in the image takes the place of fettle's RunPod source", () => {
  const built = planOfProfile("a1111-runpod", { facts: { existing: new Set(["/handler.py"]) }, env: runpodEnv });
  const handler = find(built, "handler");
  assert.deepEqual(handler?.argv, ["python", "-u", "/handler.py"]);
  assert.equal(handler?.essential, true);
  assert.deepEqual(handler?.dependsOn, [{ service: "webui", condition: "ready" }]);
  assert.equal(built.sources.runpod?.enabled, false);
  assert.equal(find(built, "worker")?.announce, undefined);
});

test("FETTLE_HANDLER=false keeps fettle's RunPod source beside a handler.py", () => {
  const built = planOfProfile("a1111-runpod", { facts: { existing: new Set(["/handler.py"]) }, env: { ...runpodEnv, FETTLE_HANDLER: "false" } });
  assert.equal(find(built, "handler"), undefined);
  assert.equal(built.sources.runpod?.enabled, true);
});

test("a free port takes the place of the one in the arguments", () => {
  const built = planOfProfile("a1111-runpod", { facts: { freePorts: [41000] }, set: ["engines.webui.port=0"] });
  assert.equal(find(built, "webui")?.argv.join(" "), seedArgv.replace("3000", "41000"));
  assert.equal(built.plan.engines[0]?.url, "http://127.0.0.1:41000");
});

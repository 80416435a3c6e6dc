import assert from "node:assert/strict";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { useEngineAt } from "../../src/plan/engine-at.ts";
import { configSchema } from "../../src/config/schema/index.ts";
import { noFacts, planOf, planOfProfile } from "./plan-of.ts";

const failure = (run: () => unknown): FettleError => {
  try {
    run();
  } catch (error) {
    if (error instanceof FettleError) return error;
    throw error;
  }
  throw new Error("it did not fail");
};
const command = ["/bin/true"];

test("the demo makes its model before the engine, and not again once it is there", () => {
  const fresh = planOfProfile("demo").plan;
  assert.deepEqual(fresh.order, [["diffusers-model", "worker"], ["diffusers"]]);
  assert.deepEqual(fresh.services.find(({ name }) => name === "diffusers")?.dependsOn, [{ service: "diffusers-model", condition: "completed" }]);
  const second = planOfProfile("demo", { facts: { existing: new Set(["/var/lib/fettle/models/tiny-sdxl"]) } }).plan;
  assert.deepEqual(second.order, [["diffusers", "worker"]]);
});

test("two engines with one tiny model share the task", () => {
  const engine = { kind: "diffusers", tinyModel: true, port: 0 };
  const { plan } = planOf({ engines: { one: engine, two: engine } }, { freePorts: [41001, 41002] });
  assert.deepEqual(
    plan.services.map(({ name }) => name),
    ["one-model", "one", "two"],
  );
  assert.deepEqual(plan.services[2]?.dependsOn, [{ service: "one-model", condition: "completed" }]);
  assert.deepEqual(
    plan.engines.map(({ url }) => url),
    ["http://127.0.0.1:41001", "http://127.0.0.1:41002"],
  );
});

test("an engine with a url is not launched, and nobody waits for it", () => {
  const { plan } = planOf({
    engines: { far: { kind: "a1111", url: "http://10.0.0.1:7861/" } },
    services: { after: { command, dependsOn: { far: "ready" } } },
  });
  assert.deepEqual(
    plan.services.map(({ name, dependsOn }) => ({ name, dependsOn })),
    [{ name: "after", dependsOn: [] }],
  );
  assert.equal(plan.engines[0]?.service, undefined);
  assert.equal(plan.engines[0]?.readiness.type === "http" && plan.engines[0].readiness.url, "http://10.0.0.1:7861/sdapi/v1/sd-models");
  assert.match(plan.warnings.join(), /"after" does not wait for the engine "far"/);
});

test("--engine-url takes the place of the launched engines", () => {
  const config = useEngineAt(configSchema.parse({ engines: { one: { kind: "a1111" }, two: { kind: "diffusers", port: 3001 } } }), "http://10.0.0.1:7861");
  assert.deepEqual(
    Object.entries(config.engines).map(([name, { url }]) => [name, url]),
    [["one", "http://10.0.0.1:7861"]],
  );
  assert.equal(failure(() => useEngineAt(config, "ftp://x")).code, "cli.bad-value");
});

test("a cycle is an error that names its path", () => {
  const error = failure(() =>
    planOf({
      services: {
        first: { command },
        a: { command, dependsOn: { first: "ready", b: "ready" } },
        b: { command, dependsOn: { c: "started" } },
        c: { command, dependsOn: { a: "ready" } },
      },
    }),
  );
  assert.equal(error.code, "plan.cycle");
  assert.match(error.message, /a → b → c → a/);
});

test("waiting for a service that is left out is an error that says why", () => {
  const services = { maybe: { command, onlyIfExists: "/no/such" }, after: { command, dependsOn: { maybe: "ready" } } };
  const error = failure(() => planOf({ services }));
  assert.equal(error.code, "plan.missing-dependency");
  assert.match(error.message, /left out because \/no\/such does not exist/);
  assert.equal(planOf({ services }, { existing: new Set(["/no/such"]) }).plan.services.length, 2);
});

test("waiting for a name that nobody has is an error with a suggestion", () => {
  const error = failure(() => planOf({ services: { database: { command }, after: { command, dependsOn: { databse: "ready" } } } }));
  assert.match(`${error.message} ${error.hint}`, /which does not exist.*Did you mean "database"/);
});

test("two listeners on one port are an error", () => {
  const error = failure(() => planOf({ engines: { one: { kind: "a1111", port: 8000 } }, sources: { http: {} } }));
  assert.equal(error.code, "plan.port-taken-twice");
  assert.match(error.message, /the job API and the engine "one" both want port 8000/);
});

test("the worker runs only when a source is on, and a file job decides the exit code", () => {
  assert.deepEqual(planOf({}).plan.services, []);
  const once = planOf({ sources: { file: { enabled: true } } }).plan.services[0];
  assert.deepEqual([once?.name, once?.restart.policy, once?.essential], ["worker", "never", true]);
  const served = planOf({ sources: { http: { port: 0 } } }, { freePorts: [41003] });
  assert.equal(served.sources.http?.port, 41003);
  assert.deepEqual(served.plan.services[0]?.argv, ["/bin/fettle", "work"]);
});

test("the RunPod source cannot be forced on without its address", () => {
  assert.equal(failure(() => planOf({ sources: { runpod: { enabled: true } } })).where?.path, "sources.runpod.takeUrl");
});

test("a task of the user is not started again and again", () => {
  const { plan } = planOf({ services: { once: { command, task: true } } });
  assert.deepEqual([plan.services[0]?.role, plan.services[0]?.restart.policy], ["task", "on-failure"]);
});

test("the user's environment wins over the launch's own, and null removes", () => {
  const { plan } = planOf({ engines: { one: { kind: "a1111", env: { LD_PRELOAD: null, PYTHONUNBUFFERED: "0" } } } }, { tcmalloc: "/lib/libtcmalloc.so.4" });
  assert.deepEqual(plan.services[0]?.env, { LD_PRELOAD: null, PYTHONUNBUFFERED: "0" });
});

test("CUDA without a device is a warning", () => {
  const config = { engines: { one: { kind: "diffusers", device: "cuda", allocator: "none" } } };
  assert.match(planOf(config).plan.warnings.join(), /no NVIDIA device/);
  assert.deepEqual(planOf(config, { ...noFacts, hasCuda: true }).plan.warnings, []);
});

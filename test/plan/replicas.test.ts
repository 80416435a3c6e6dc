import assert from "node:assert/strict";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { planOf } from "./plan-of.ts";

const webui = { kind: "a1111", port: 3000, args: ["--port", "{port}", "--device-id={index}"], replicas: "gpu", allocator: "none" };

test("one copy for each GPU: its own port, its own GPU, its own files; who waits for the name waits for all", () => {
  const { plan } = planOf({ engines: { webui }, services: { proxy: { command: ["proxy"], dependsOn: { webui: "ready" } } } }, { gpus: ["0", "GPU-4f"] });
  const [first, second, proxy] = plan.services;
  assert.deepEqual([first?.name, second?.name], ["webui-0", "webui-1"]);
  assert.deepEqual(second?.argv.slice(-3), ["--port", "3001", "--device-id=1"]);
  assert.deepEqual([first?.env["CUDA_VISIBLE_DEVICES"], second?.env["CUDA_VISIBLE_DEVICES"]], ["0", "GPU-4f"]);
  assert.equal(new Set([first?.logFile, second?.logFile, first?.pidFile, second?.pidFile]).size, 4);
  assert.deepEqual(
    proxy?.dependsOn.map(({ service }) => service),
    ["webui-0", "webui-1"],
  );
  assert.deepEqual(
    plan.engines.map(({ name, url, gpu }) => [name, url, gpu]),
    [
      ["webui-0", "http://127.0.0.1:3000", 0],
      ["webui-1", "http://127.0.0.1:3001", 1],
    ],
  );
});

test("without a GPU there is one copy, and a warning", () => {
  const { plan } = planOf({ engines: { webui } }, { gpus: [] });
  assert.deepEqual(
    plan.services.map(({ name, env }) => [name, "CUDA_VISIBLE_DEVICES" in env]),
    [["webui-0", false]],
  );
  assert.match(plan.warnings.join("\n"), /none is visible here/);
});

test("so many copies of a service; its words and files are counted too, other braces stay", () => {
  const command = ["serve", "--port", "{9000+index}", '{"a": {index}}'];
  const { plan } = planOf({ services: { one: { command, replicas: 2, env: { N: "{index}" }, logFile: "both.log" } } });
  assert.deepEqual(
    plan.services.map(({ argv, env, logFile }) => [argv.slice(2), env["N"], logFile.split("/").at(-1)]),
    [
      [["9000", '{"a": 0}'], "0", "both.log.0"],
      [["9001", '{"a": 1}'], "1", "both.log.1"],
    ],
  );
});

test("a copy's name that is declared as well is a mistake", () => {
  assert.throws(
    () => planOf({ services: { a: { command: ["x"], replicas: 2 }, "a-1": { command: ["y"] } } }),
    (error) => error instanceof FettleError && error.code === "config.invalid" && error.message.includes('"a-1"'),
  );
});

test("the process keys and the conditions reach the plan; a disabled dependency is named", () => {
  const a = { command: ["a"], nice: 5, oomScore: -100, limits: { files: 1024, core: 0, memory: "1GiB" }, liveness: { tcp: { port: 5 }, period: "20ms" } };
  const b = { command: ["b"], readiness: { fd: 3, period: "20ms", successes: 2 }, dependsOn: { a: { logLine: "^up$" } } };
  const { plan } = planOf({ services: { a, b } });
  assert.deepEqual(plan.services[0]?.limits, { files: 1024, core: 0, memory: 2 ** 30 });
  assert.deepEqual([plan.services[0]?.nice, plan.services[0]?.oomScore], [5, -100]);
  assert.deepEqual(plan.services[0]?.liveness, { type: "tcp", host: "127.0.0.1", port: 5, periodMs: 20, timeoutMs: 5000, failures: 3 });
  assert.deepEqual(plan.services[1]?.dependsOn, [{ service: "a", condition: "log-line", pattern: "^up$" }]);
  assert.equal(plan.services[1]?.readiness?.type, "fd");
  assert.throws(() => planOf({ services: { a: { ...a, enabled: false }, b } }), /left out because it is not enabled/);
});

test("threads are capped by the container's share of CPUs, unless somebody says otherwise; a library of another architecture is left out", () => {
  const services = { a: { command: ["a"], preload: ["/lib/right.so", "/lib/wrong.so"] }, b: { command: ["b"], env: { OMP_NUM_THREADS: 7 } } };
  const { plan } = planOf(
    { services },
    { cpuLimit: 2, preload: "/own.so", unusable: new Map([["/lib/wrong.so", "it is made for another architecture than x64"]]) },
  );
  assert.deepEqual(
    plan.services.map(({ env }) => env["OMP_NUM_THREADS"]),
    ["2", "7"],
  );
  assert.equal(plan.services[0]?.env["LD_PRELOAD"], "/own.so:/lib/right.so");
  assert.deepEqual(plan.warnings, ['"a" runs without /lib/wrong.so: it is made for another architecture than x64.']);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkDirectLogs } from "../../src/plan/direct-logs.ts";
import { startOrder } from "../../src/plan/order.ts";

const node = (name: string, ...on: string[]) => ({ name, dependsOn: on.map((service) => ({ service, condition: "ready" as const })) });

test("each service stands in the first wave in which all it waits for have started", () => {
  const services = [node("d", "b", "c"), node("c", "a"), node("b"), node("a"), node("e", "a")];
  assert.deepEqual(startOrder(services), [["b", "a"], ["c", "e"], ["d"]]);
});

test("no services are no waves", () => {
  assert.deepEqual(startOrder([]), []);
});

test("nobody can wait for a line of a direct log", () => {
  const a = { ...node("a"), directLog: true as const };
  const pattern = "ready";
  checkDirectLogs([a, node("b", "a"), { name: "c", dependsOn: [{ service: "b", condition: "log-line", pattern }] }]);
  assert.throws(() => checkDirectLogs([a, { name: "b", dependsOn: [{ service: "a", condition: "log-line", pattern }] }]), /"b": it waits for a line of "a"/);
  const readiness = { type: "log-line" as const, pattern, periodMs: 1, timeoutMs: 1, startupMs: 0, logEvery: 0 };
  assert.throws(() => checkDirectLogs([{ ...a, readiness }]), /whose log is direct/);
});

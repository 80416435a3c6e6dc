import assert from "node:assert/strict";
import { test } from "node:test";
import { startOrder } from "../../src/plan/order.ts";

const node = (name: string, ...on: string[]) => ({ name, dependsOn: on.map((service) => ({ service, condition: "ready" as const })) });

test("each service stands in the first wave in which all it waits for have started", () => {
  const services = [node("d", "b", "c"), node("c", "a"), node("b"), node("a"), node("e", "a")];
  assert.deepEqual(startOrder(services), [["b", "a"], ["c", "e"], ["d"]]);
});

test("no services are no waves", () => {
  assert.deepEqual(startOrder([]), []);
});

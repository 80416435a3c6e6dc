import assert from "node:assert/strict";
import { test } from "node:test";
import type { Plan } from "../../src/plan/plan.ts";
import { createStatus } from "../../src/supervise/status.ts";
import { showUrl } from "../../src/util/show-url.ts";

test("the password in an engine's address is in no status", () => {
  const engine = { name: "far", kind: "a1111", url: "http://me:very-secret@127.0.0.1:3000", slots: 1 };
  const plan = { profile: "test", services: [], phases: [], engines: [engine] } as unknown as Plan;
  assert.equal(createStatus(plan).snapshot([]).engines[0]?.url, "http://me:***@127.0.0.1:3000");
  const same = ["http://127.0.0.1:3000/a:b@c", "http://me@host/", "not a url", "https://[::1]:3000"];
  assert.deepEqual(same.map(showUrl), same);
  assert.equal(showUrl("HTTPS://u:p@ss@h/x"), "HTTPS://u:***@h/x");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { explainPlan } from "../../src/plan/explain.ts";
import { maskPlan } from "../../src/plan/mask-plan.ts";
import { planOf, planOfProfile } from "./plan-of.ts";

test("the table shows every service with its wave, command and readiness", () => {
  const text = explainPlan(planOfProfile("demo").plan);
  assert.match(text, /^2 +diffusers +engine +diffusers-model completed +GET http:\/\/127\.0\.0\.1:3000\/internal\/ready every 200ms +always, essential$/m);
  assert.match(text, /^1 +worker +worker +- +127\.0\.0\.1:8000 accepts every 50ms +always, essential$/m);
  assert.match(text, /python3 -u \/assets\/engine\.py --host 127\.0\.0\.1 --port 3000/);
});

test("a word that a shell would split is quoted", () => {
  const { plan } = planOf({ services: { one: { command: ["/bin/echo", "two words", "it's"] } } });
  assert.match(explainPlan(plan), /\/bin\/echo 'two words' 'it'\\''s'/);
});

test("no secret is shown: not in the environment, the arguments or an address", () => {
  const { plan } = planOf({
    engines: { far: { kind: "a1111", url: "http://user:hunter22@10.0.0.1:3000" } },
    services: {
      one: {
        command: ["/bin/x", "--api-key", "key-one", "--token=key-two", "--port", "1", "key-three"],
        env: { SOME_TOKEN: "key-four", DATABASE: "redis://me:key-five@host/0", PLAIN: "seen" },
        readiness: { http: "http://me:key-six@127.0.0.1:1/" },
      },
    },
  });
  const masked = maskPlan(plan, ["key-three"]);
  const text = JSON.stringify(masked) + explainPlan(masked);
  assert.doesNotMatch(text, /hunter22|key-(one|two|three|four|five|six)/);
  assert.deepEqual(masked.services[0]?.argv, ["/bin/x", "--api-key", "***", "--token=***", "--port", "1", "***"]);
  assert.equal(masked.services[0]?.env["PLAIN"], "seen");
});

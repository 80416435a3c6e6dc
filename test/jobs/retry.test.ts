import assert from "node:assert/strict";
import { test } from "node:test";
import type { AttemptResult, EngineFailureCode, Remedy } from "../../src/engines/engine.ts";
import { judge } from "../../src/jobs/retry.ts";

type Failed = Extract<AttemptResult, { type: "failed" }>;
const failed = (code: EngineFailureCode, retryable: boolean, remedy?: Remedy): Failed => ({
  type: "failed",
  code,
  message: "",
  retryable,
  ...(remedy && { remedy }),
});
const limits = { tries: 10, maxLosses: 3, canFree: true };
const fresh = { tries: 1, losses: 0, freed: false };

test("Bad input is not tried again, a transient fault is, up to the limit", () => {
  assert.equal(judge(failed("engine.rejected", false), fresh, limits).again, false);
  assert.equal(judge(failed("engine.unreachable", true), fresh, limits).again, true);
  assert.equal(judge(failed("engine.unreachable", true), { ...fresh, tries: 10 }, limits).again, false);
});

test("Out of memory is tried again once, after memory was freed, and only where it can be", () => {
  const oom = failed("engine.out-of-memory", true, "free-memory");
  assert.deepEqual(judge(oom, fresh, limits), { again: true, isLoss: false, remedy: "free-memory" });
  assert.deepEqual(judge(oom, { ...fresh, tries: 2, freed: true }, limits), { again: false, isLoss: false });
  assert.deepEqual(judge(oom, fresh, { ...limits, canFree: false }), { again: false, isLoss: false });
});

test("A lost or poisoned engine counts as a loss, and losses end the job before its tries do", () => {
  for (const one of [failed("engine.lost", true), failed("engine.cuda-error", true, "restart"), failed("engine.stalled", true, "restart")]) {
    assert.equal(judge(one, fresh, limits).isLoss, true);
    assert.equal(judge(one, { ...fresh, losses: 1 }, limits).again, true);
    assert.equal(judge(one, { ...fresh, losses: 2 }, limits).again, false);
  }
  // The engine is restarted even when the job is not tried again.
  assert.deepEqual(judge(failed("engine.timeout", false, "restart"), fresh, limits), { again: false, isLoss: true, remedy: "restart" });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventBus } from "../../src/events/bus.ts";
import { createLog } from "../../src/log/log.ts";
import { createPhaseReport } from "../../src/phases/report.ts";

test("the first job that succeeds is told once, with the time that its worker measured", () => {
  const bus = new EventBus();
  const said: string[] = [];
  bus.observe(createPhaseReport(createLog({ format: "plain", write: (text) => void said.push(text) })));
  const about = { source: "http" };
  const sent = { type: "job.sent", status: "COMPLETED", points: {}, ...about } as const;
  bus.emit({ type: "job.failed", job: "zero", code: "engine.failed", message: "no", engineMs: 0, ...about });
  bus.emit({ ...sent, job: "zero", totalMs: 9 });
  for (const job of ["one", "two"]) {
    bus.emit({ type: "job.received", job, recovered: false, ...about });
    bus.emit({ type: "job.done", job, engineMs: 1000, sizeBytes: 1, ...about });
  }
  for (const job of ["two", "one", "one"]) bus.emit({ ...sent, job, totalMs: 1234 });
  assert.deepEqual(said, ["[INFO] The first job took 1.234s.\n"]);
});

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { formatExpectation, formatTimeline } from "../../src/supervise/timeline.ts";
import { createRig, ready } from "./rig.ts";

test("what a person reads: announcements word for word, waiting, the timeline with its expectations", async () => {
  await using rig = await createRig();
  const flag = join(rig.dir, "files/ready");
  const { readiness } = ready({ type: "file", path: flag });
  const webui = rig.service("webui", {
    console: true,
    announce: "Starting WebUI API",
    expect: { minMs: 30_000, maxMs: 60_000 },
    readiness: { ...readiness, logEvery: 15 },
  });
  const run = rig.run(rig.plan([webui], { announce: ["Worker Initiated"], warnings: ["tcmalloc was not found."], expectSetup: { maxMs: 600_000 } }));
  const child = await rig.started("webui");
  await child.order({ print: "Launching Web UI" });
  await rig.until("a waiting line", () => run.lines.find((line) => line === `[INFO] webui is not ready yet: ${flag}: no such file or folder (15 tries)`));
  await child.order({ touch: flag });
  await run.event("supervisor.ready");
  assert.deepEqual(run.lines.slice(0, 3), ["Worker Initiated", "[WARNING] tcmalloc was not found.", "Starting WebUI API"]);
  assert.ok(run.lines.includes("webui | Launching Web UI"));
  const rows = run.lines.filter((line) => line.includes("(expected"));
  assert.match(rows[0] ?? "", /set-up +\d+\.\d\d? s +\(expected < 600 s\)/);
  assert.match(rows[1] ?? "", /webui ready +\d+\.\d\d? s +\(expected 30–60 s\)/);
});

test("the timeline's columns line up, and stages that did not end are left out", () => {
  const stages = [
    { stage: "set-up", startedMs: 0, endedMs: 80, expect: { maxMs: 1000 } },
    { stage: "webui ready", startedMs: 80, endedMs: 41_280, expect: { minMs: 30_000, maxMs: 60_000 } },
    { stage: "other", startedMs: 80 },
  ];
  assert.deepEqual(formatTimeline(stages), ["set-up       0.08 s  (expected < 1 s)    at 0.08 s", "webui ready  41.2 s  (expected 30–60 s)  at 41.3 s"]);
  assert.equal(formatExpectation({ minMs: 500, maxMs: 2500 }), "(expected 0.5–2.5 s)");
});

test("the worker's lines pass through as they are, other services' get their name", async () => {
  await using rig = await createRig();
  const run = rig.run(rig.plan([rig.service("worker", { role: "worker", console: true }), rig.service("a", { console: true })]));
  await (await rig.started("worker")).order({ print: '{"level":"info","message":"job done"}' });
  await (await rig.started("a")).order({ print: "hello" });
  await rig.until("both lines", () => (run.lines.includes('{"level":"info","message":"job done"}') && run.lines.includes("a | hello")) || undefined);
});

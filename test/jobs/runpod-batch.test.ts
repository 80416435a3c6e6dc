import assert from "node:assert/strict";
import { test } from "node:test";
import { readJobs } from "../../src/jobs/sources/runpod-received.ts";
import { safeId, wireId } from "../../src/jobs/sources/runpod-id.ts";
import { splitList } from "../../src/jobs/sources/split-list.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { limit, runpodConfig, startRig } from "./worker-rig.ts";

const limits = { maxDepth: 8, maxBytes: 10_000 };
const ids = (count: number) => Array.from({ length: count }, (_, index) => ({ id: `job-${index}`, input: {} }));

test("With several slots free one request brings as many jobs, and never more than can run", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 3);
  const gate = Promise.withResolvers<void>();
  engine.script = async (attempt) => {
    await gate.promise;
    return doneWith(attempt, "{}");
  };
  platform.submit(...ids(7));
  // The config allows eight, the engine three.
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 8 } } });
  await engine.facts.until("three run", () => (engine.running === 3 ? true : undefined), limit());
  const [first] = platform.calls("job-take-batch");
  assert.deepEqual(
    [...(first?.query ?? [])],
    [
      ["gpu", "LOCAL GPU"],
      ["batch_size", "3"],
      ["job_in_progress", "0"],
    ],
  );
  assert.deepEqual([platform.outstanding().length, platform.calls("job-take").length], [3, 0]);
  gate.resolve();
  await platform.waitForAll(limit());
  await rig.shutDown();
  for (const take of platform.calls("job-take-batch")) assert.ok(Number(take.query.get("batch_size")) <= 3);
  assert.equal(engine.maxRunning, 3);
  assert.deepEqual([platform.violations, platform.summary().repeats], [[], 0]);
});

for (const status of [404, 405]) {
  test(`A platform without batches (${status}) is asked for one job at a time, from then on`, { timeout: 60_000 }, async () => {
    await using platform = await startRunpodPlatform();
    platform.fail("job-take-batch", { status }, { times: 1000 });
    await using rig = await startRig(createScriptedEngine("engine", 4), { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 4 } } });
    platform.submit(...ids(20));
    await platform.waitForAll(limit());
    await rig.shutDown();
    assert.equal(platform.calls("job-take-batch").length, 1);
    assert.deepEqual(platform.violations, []);
  });
}

test("What of a batch cannot be read is answered by its id, the rest is run", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 8);
  await using rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 8 } }, jobs: { maxDepth: 5 } });
  await platform.waitForHeldTake(limit());
  const long = "x".repeat(600);
  const members = [
    '{"id":"good","input":{"prompt":"a, ] } \\" b"}}',
    `{"id":"deep","input":${'{"a":'.repeat(50)}1${"}".repeat(50)}}`,
    '{"id":"broken","input":{"a":}}',
    '{"id":"no-input"}',
    '{"id":"line\\nbreak","input":{}}',
    `{"id":"${long}","input":{}}`,
    '{"id":17,"input":{}}',
    '{"id":null,"input":{}}',
    '{"input":{"prompt":"nobody"}}',
    '"just text"',
    '{"id":"fine","input":{}}',
  ];
  platform.answerNextTake(`[${members.join(",")}]`);
  const posted = () => platform.calls("job-done").filter(({ status }) => status === 200);
  await platform.waitFor("eight answers", () => (posted().length >= 8 ? true : undefined), limit());
  await rig.shutDown();
  assert.deepEqual(
    posted()
      .map(({ jobId }) => jobId)
      .toSorted(),
    ["17", "broken", "deep", "fine", "good", "line\nbreak", "no-input", long].toSorted(),
  );
  assert.deepEqual(engine.attempts.map(({ jobId }) => jobId).toSorted(), ["fine", "good"]);
  assert.equal(rig.lines.filter((line) => line.includes("no id to answer to")).length, 3);
  const raw = platform.calls("job-done").find(({ jobId }) => jobId === "line\nbreak");
  assert.match(raw?.url ?? "", /\/line%0Abreak\?/);
  assert.ok(!rig.lines.some((line) => line.includes("\n")));
});

test("A batch that is handed out as leasing stops is run or failed, none of it forgotten", { timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine("engine", 4);
  const rig = await startRig(engine, { sources: { runpod: { ...runpodConfig(platform.env()), concurrency: 4 } } });
  await platform.waitForHeldTake(limit());
  platform.submit(...ids(4));
  assert.equal(await rig.shutDown(), 0);
  const handed = platform.jobs().filter(({ handouts }) => handouts.some(({ delivered }) => delivered === "yes"));
  assert.deepEqual(
    handed.filter(({ results }) => !results.some(({ accepted }) => accepted)).map(({ id }) => id),
    [],
  );
  assert.equal(platform.outstanding().length, 0);
});

test("A list is cut at its own commas, whatever its members hold", () => {
  assert.deepEqual(
    splitList(' [1, "a,]b", {"c":[1,2]},[3,4] ] '),
    ["1", ' "a,]b"', ' {"c":[1,2]}', "[3,4] "].map((text) => text),
  );
  assert.deepEqual(splitList("[]"), []);
  assert.deepEqual(splitList('[{"id":"a"},{"id":"b","inp'), ['{"id":"a"}', '{"id":"b","inp']);
  const { jobs, unanswerable } = readJobs('{"id":"one","input":{"x":1},"webhook":"w"}', limits);
  assert.deepEqual([jobs[0]?.id, jobs[0]?.input, jobs[0]?.extra, unanswerable], ["one", { x: 1 }, { webhook: "w" }, []]);
  assert.deepEqual(readJobs("[]", limits), { jobs: [], unanswerable: [] });
});

test("An id that the log and the journal cannot hold finds its way back", () => {
  for (const id of ["a\u0000b", "\u007f", "x".repeat(513), "url-encoded:a", "ğ\n😀"]) {
    const safe = safeId(id);
    assert.ok(safe !== undefined && /^url-encoded:[\u0021-\u007e]+$/.test(safe), JSON.stringify(id));
    assert.equal(wireId(safe), id);
  }
  for (const id of ["plain-u1", "iş-😀", "100%", "a b"]) assert.deepEqual([safeId(id), wireId(id)], [id, id]);
  for (const id of ["", "x".repeat(5000)]) assert.equal(safeId(id), undefined);
});

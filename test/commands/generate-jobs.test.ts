import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createPlace, type Place } from "./program.ts";
import { startNoopEngine } from "../doubles/noop-engine.ts";

type Line = { n: number; job?: string; status: string; images?: { path: string }[]; seed?: number; error?: { code: string; message: string } };
const limit = { timeout: 60_000 };
const signal = () => AbortSignal.timeout(30_000);
const lines = (text: string) =>
  text
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
const images = (place: Place) =>
  readdirSync(join(place.dir, "out"))
    .filter((name) => name.endsWith(".png"))
    .sort();
const isPng = (path: string) => readFileSync(path).subarray(1, 4).toString() === "PNG";

/** Jobs over an engine that runs elsewhere, so that the test can ask it what happened. */
async function createRig(jobs: readonly object[], ...flags: string[]) {
  const place = createPlace();
  const engine = await startNoopEngine(...flags);
  const write = (all: readonly object[]) => writeFileSync(join(place.dir, "jobs.jsonl"), all.map((job) => `${JSON.stringify(job)}\n`).join(""));
  write(jobs);
  const generate = (...args: string[]) => place.run(["generate", "--profile", "demo", "--engine-url", engine.url, "--jobs", "jobs.jsonl", ...args]);
  return {
    place,
    engine,
    write,
    generate,
    started: async () => Object.fromEntries(Object.entries((await engine.stats()).prompts).map(([name, count]) => [name, count.started])),
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await engine.stop();
    },
  };
}

const abc = [{ id: "a", prompt: "a" }, { id: "b", prompt: "b" }, { prompt: "c" }];

test("many jobs: a line of JSON for each, names from words, a summary, and no second image under one name", limit, async () => {
  await using rig = await createRig([...abc, { prompt: "d", seed: 5 }]);
  const run = rig.generate("--out", "out/{seed}.png", "--json");
  assert.equal(await run.ended, 0, run.said());
  const said = lines(run.out());
  assert.deepEqual(
    said.map(({ n, job, status, seed }) => [n, job, status, seed]),
    [
      [1, "a", "done", 1],
      [2, "b", "done", 1],
      [3, undefined, "done", 1],
      [4, undefined, "done", 1],
    ],
  );
  assert.deepEqual(images(rig.place), ["1-2.png", "1-3.png", "1-4.png", "1.png"], "the engine says seed 1 of each");
  assert.match(run.said(), /2\/4 b: done in/);
  assert.match(run.said(), /4 done of 4 jobs in/);
});

test("without --json the images' paths are the output; stdin may hold the lines", limit, async () => {
  await using place = createPlace();
  const run = place.run(["generate", "--config", place.configure(), "--input", "-", "--out", "out/{n}-{index}.{ext}"], {
    input: '{"prompt":"a"}\n{"prompt":"b"}\n',
  });
  assert.equal(await run.ended, 0, run.said());
  assert.equal(run.out(), ["1-0.png", "2-0.png"].map((name) => `${join(place.dir, "out", name)}\n`).join(""));
  assert.ok(existsSync(join(place.dir, "out/.fettle-stdin.state")));
  assert.deepEqual(place.leftovers(), []);
});

test("a failing job does not stop the others; --resume runs it, what was changed, and nothing else", limit, async () => {
  const bad = { id: "b", prompt: "b", noop: { status: 500 } };
  await using rig = await createRig([{ id: "a", prompt: "a" }, bad, { id: "c", prompt: "c" }]);
  const run = rig.generate("--out", "out/{job}.png", "--json");
  assert.equal(await run.ended, 1);
  assert.deepEqual(
    lines(run.out()).map(({ status, error }) => [status, error?.code]),
    [
      ["done", undefined],
      ["failed", "engine.failed"],
      ["done", undefined],
    ],
  );
  assert.match(run.said(), /2 done, 1 failed of 3 jobs.*--resume/);
  rig.write([
    { id: "a", prompt: "a" },
    { id: "b", prompt: "b" },
    { id: "c", prompt: "c changed" },
  ]);
  const again = rig.generate("--out", "out/{job}.png", "--json", "--resume");
  assert.equal(await again.ended, 0, again.said());
  assert.deepEqual(
    lines(again.out()).map(({ status, images: made }) => [status, made?.[0]?.path.split("/").at(-1)]),
    [
      ["skipped", "a.png"],
      ["done", "b.png"],
      ["done", "c.png"],
    ],
  );
  assert.deepEqual(images(rig.place), ["a.png", "b.png", "c.png"]);
  assert.deepEqual(await rig.started(), { a: 1, b: 2, c: 1, "c changed": 1 });
});

test("when all is done, --resume asks no engine; a lost image is made again", limit, async () => {
  await using rig = await createRig(abc);
  assert.equal(await rig.generate("--out", "out/").ended, 0);
  const dead = rig.place.run(["generate", "--profile", "demo", "--engine-url", "http://127.0.0.1:9", "--jobs", "jobs.jsonl", "--out", "out/", "--resume"]);
  assert.equal(await dead.ended, 0, dead.said());
  rmSync(join(rig.place.dir, "out/b-0.png"));
  assert.equal(await rig.generate("--out", "out/", "--resume").ended, 0);
  assert.deepEqual(images(rig.place), ["a-0.png", "b-0.png", "job-3-0.png"]);
  assert.deepEqual(await rig.started(), { a: 1, b: 2, c: 1 });
});

test("--fail-fast stops at the first failure and calls off what runs", limit, async () => {
  await using rig = await createRig([{ prompt: "a", noop: { status: 500 } }, { prompt: "b" }]);
  const run = rig.generate("--out", "out/", "--json", "--fail-fast");
  assert.equal(await run.ended, 1);
  assert.deepEqual(
    lines(run.out()).map(({ status }) => status),
    ["failed", "not-run"],
  );
  assert.deepEqual(await rig.started(), { a: 1 });
});

test("killed with -9 in mid-job: whole files only, and --resume does the rest under the same names", limit, async () => {
  await using rig = await createRig([{ prompt: "a" }, { prompt: "b", noop: { hold: true } }, { prompt: "c" }]);
  const run = rig.generate("--out", "out/{n}-{seed}.png");
  await rig.engine.waitFor({ started: 2 }, { signal: signal() });
  await run.stop("SIGKILL");
  assert.deepEqual(images(rig.place), ["1-1.png"]);
  await rig.engine.release();
  const again = rig.generate("--out", "out/{n}-{seed}.png", "--resume", "--json");
  await rig.engine.waitFor({ started: 3 }, { signal: signal() });
  await rig.engine.release();
  assert.equal(await again.ended, 0, again.said());
  assert.deepEqual(
    lines(again.out()).map(({ status }) => status),
    ["skipped", "done", "done"],
  );
  for (const name of images(rig.place)) assert.ok(isPng(join(rig.place.dir, "out", name)));
  assert.deepEqual(readdirSync(join(rig.place.dir, "out")).sort(), [".fettle-jobs.jsonl.state", "1-1.png", "2-1.png", "3-1.png"]);
});

test("killed with -9 while an instance worked: --resume waits for that very job", limit, async () => {
  await using rig = await createRig([{ prompt: "a", noop: { hold: true } }, { prompt: "b" }]);
  const start = rig.place.run(["start", "--config", rig.place.configure("sources: { http: { port: 0 } }"), "--engine-url", rig.engine.url]);
  const [, url = ""] = await start.untilSaid(/Jobs are taken at (\S+)/);
  const generate = () => rig.place.run(["generate", "--profile", "demo", "--url", url, "--jobs", "jobs.jsonl", "--out", "out/", "--resume"]);
  const run = generate();
  await rig.engine.waitFor({ started: 1 }, { signal: signal() });
  await run.stop("SIGKILL");
  const again = generate();
  await rig.engine.release();
  assert.equal(await again.ended, 0, again.said());
  assert.deepEqual(await rig.started(), { a: 1, b: 1 });
  assert.deepEqual(images(rig.place), ["job-1-0.png", "job-2-0.png"]);
  assert.equal(await start.stop(), 0);
});

test("SIGINT in mid-job: the engine is interrupted, the rest is not run, exit 130, and --resume goes on", limit, async () => {
  await using rig = await createRig([{ prompt: "a" }, { prompt: "b", noop: { hold: true } }, { prompt: "c" }]);
  const run = rig.generate("--out", "out/", "--json");
  await rig.engine.waitFor({ started: 2 }, { signal: signal() });
  assert.equal(await run.stop("SIGINT"), 130);
  assert.ok((await rig.engine.stats()).interrupts > 0);
  assert.deepEqual(
    lines(run.out()).map(({ status }) => status),
    ["done", "cancelled", "not-run", undefined],
  );
  assert.deepEqual(readdirSync(join(rig.place.dir, "out")).sort(), [".fettle-jobs.jsonl.state", "job-1-0.png"]);
  rig.write([{ prompt: "a" }, { prompt: "b" }, { prompt: "c" }]);
  assert.equal(await rig.generate("--out", "out/", "--resume").ended, 0);
  assert.deepEqual(images(rig.place), ["job-1-0.png", "job-2-0.png", "job-3-0.png"]);
  assert.equal((await rig.started())["a"], 1);
  assert.deepEqual(rig.place.leftovers(), []);
});

test("--job-timeout ends one job, --timeout the whole", limit, async () => {
  await using rig = await createRig([{ prompt: "a", noop: { hold: true } }, { prompt: "b" }]);
  const run = rig.generate("--out", "out/", "--json", "--job-timeout", "300ms");
  assert.equal(await run.ended, 1, run.said());
  assert.deepEqual(
    lines(run.out()).map(({ status, error }) => [status, error?.code]),
    [
      ["failed", "engine.timeout"],
      ["done", undefined],
    ],
  );
  const whole = rig.generate("--out", "out/", "--json", "--timeout", "500ms");
  assert.equal(await whole.ended, 1);
  assert.match(whole.said(), /not done after --timeout 500ms/);
});

test("an engine of our own that dies in mid-job comes back for the others", limit, async () => {
  await using place = createPlace();
  writeFileSync(join(place.dir, "jobs.jsonl"), '{"prompt":"a","noop":{"die":true}}\n{"prompt":"b"}\n');
  const run = place.run(["generate", "--config", place.configure(), "--jobs", "jobs.jsonl", "--out", "out/", "--json"]);
  assert.equal(await run.ended, 1, run.said());
  assert.deepEqual(
    lines(run.out()).map(({ status, error }) => [status, error?.code]),
    [
      ["failed", "engine.lost"],
      ["done", undefined],
    ],
  );
});

test("a bad line stops everything before the engine is asked, with its place", limit, async () => {
  await using rig = await createRig([]);
  writeFileSync(join(rig.place.dir, "jobs.jsonl"), '{"prompt":"a"}\n{"prompt": b}\n');
  const run = rig.generate("--json");
  assert.equal(await run.ended, 2);
  assert.match(run.said(), /jobs\.jsonl:2:12/);
  assert.equal((await rig.engine.stats()).readiness, 0);
});

for (const [what, args] of [
  ["--resume without jobs", ["--prompt", "x", "--resume"]],
  ["two sources of jobs", ["--input", "a.json", "--jobs", "b.jsonl"]],
  ["two targets", ["--prompt", "x", "--url", "http://127.0.0.1:9", "--engine-url", "http://127.0.0.1:9"]],
  ["a name that all jobs share", ["--jobs", "jobs.jsonl", "--out", "a.png"]],
  ["an unknown word", ["--prompt", "x", "--out", "{sed}.png"]],
  ["an unknown rule", ["--prompt", "x", "--existing", "keep"]],
  ["a flag as a value", ["--prompt", "--json"]],
] as const) {
  test(`${what} is refused`, limit, async () => {
    await using place = createPlace();
    writeFileSync(join(place.dir, "jobs.jsonl"), '{"prompt":"a"}\n');
    const run = place.run(["generate", "--config", place.configure(), ...args]);
    assert.equal(await run.ended, 2, run.said());
    assert.match(run.said(), /cli\.bad-value/);
    if (what === "a flag as a value") assert.match(run.said(), /write --prompt=--json\./);
  });
}

test("a value that looks like a flag is taken when it is written with =", limit, async () => {
  await using place = createPlace();
  const run = place.run(["generate", "--config", place.configure(), "--prompt=--json", "--seed", "-1", "--out", "a.png"]);
  assert.equal(await run.ended, 0, run.said());
  assert.equal(run.out(), `${join(place.dir, "a.png")}\n`);
});

test("--existing decides about a file that is there", limit, async () => {
  await using rig = await createRig([{ prompt: "a" }]);
  const single = (...args: string[]) =>
    rig.place.run(["generate", "--profile", "demo", "--engine-url", rig.engine.url, "--prompt", "x", "--out", "out/a.png", ...args]);
  for (const args of [[], [], ["--existing", "number"]]) assert.equal(await single(...args).ended, 0);
  assert.deepEqual(images(rig.place), ["a-2.png", "a.png"]);
  const refused = single("--existing", "fail");
  assert.equal(await refused.ended, 1);
  assert.match(refused.said(), /it exists already.*result\.cannot-store/);
  assert.equal((await rig.engine.stats()).started, 3, "known before any work");
});

test("--engine-url: nobody there, or no engine", limit, async () => {
  await using place = createPlace();
  const run = (url: string) => place.run(["generate", "--profile", "demo", "--prompt", "x", "--engine-url", url]);
  const none = run("http://127.0.0.1:9");
  assert.equal(await none.ended, 1);
  assert.match(none.said(), /engine\.unreachable/);
  const { createServer } = await import("node:http");
  const stranger = createServer((_request, response) => response.writeHead(404).end("404: Not Found"));
  await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
  const { port } = stranger.address() as { port: number };
  const unknown = run(`http://127.0.0.1:${port}`);
  assert.equal(await unknown.ended, 1);
  assert.match(unknown.said(), /neither as A1111.*engine\.bad-answer/);
  stranger.close();
});

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Engine } from "../../src/engines/engine.ts";
import { ResponseCache, withResponseCache } from "../../src/jobs/response-cache.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { makeAttempt, sdapiAnswer } from "../fixtures/sdapi-answer.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";

const never = new AbortController().signal;
const limits = { maxBytes: 1_000_000, maxEntries: 100 };

function createPlace() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-cache-"));
  return { dir: join(dir, "cache"), file: join(dir, "file"), [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

test("Identical seeded jobs are answered without the engine, also in the next life; another model is asked", async () => {
  using place = createPlace();
  const scripted = createScriptedEngine();
  scripted.script = (attempt) => doneWith(attempt, sdapiAnswer());
  let model = "one";
  const engine: Engine = {
    ...scripted,
    run: (attempt, options) => scripted.run(attempt, options),
    answerKey: async ({ input }) => (input["seed"] === 1 ? model : undefined),
  };
  const readAnswer = (attempt: Parameters<typeof createAnswerReader>[0]) => createAnswerReader(attempt, { blackImages: "fail" });
  let cached = withResponseCache(engine, new ResponseCache(place.dir, limits), readAnswer);
  const run = async (input: Record<string, unknown>) => {
    await using attempt = await makeAttempt(input);
    const result = await cached.run(attempt, { signal: never });
    return result.type === "done" ? `${result.cache ?? "none"} ${result.output.images.length}` : result.type;
  };
  assert.equal(await run({ seed: 1, prompt: "a" }), "stored 0");
  assert.equal(await run({ prompt: "a", seed: 1 }), "hit 1");
  assert.equal(await run({ prompt: "a", seed: -1 }), "none 0");
  cached = withResponseCache(engine, new ResponseCache(place.dir, limits), readAnswer);
  assert.equal(await run({ prompt: "a", seed: 1 }), "hit 1");
  model = "two";
  assert.equal(await run({ prompt: "a", seed: 1 }), "stored 0");
  assert.equal(scripted.attempts.length, 3);
});

test("Bounded in bytes and entries: what was used longest ago goes first", async () => {
  using place = createPlace();
  const cache = new ResponseCache(place.dir, { maxBytes: 25, maxEntries: 2 });
  writeFileSync(place.file, "0123456789");
  for (const key of ["a", "b"]) assert.equal(await cache.store(key, place.file, 10), true);
  assert.ok(cache.find("a"));
  await cache.store("c", place.file, 10);
  assert.deepEqual(readdirSync(place.dir).toSorted(), ["a.json", "c.json"]);
  assert.equal(await cache.store("huge", place.file, 26), false);
  assert.equal(new ResponseCache(place.dir, { maxBytes: 10, maxEntries: 9 }).find("a"), undefined);
});

test("The next life knows the order of uses that followed within a moment", async () => {
  for (let round = 0; round < 50; round += 1) {
    using place = createPlace();
    const cache = new ResponseCache(place.dir, limits);
    writeFileSync(place.file, "0123456789");
    await cache.store("a", place.file, 10);
    assert.ok(cache.find("a"));
    await cache.store("b", place.file, 10);
    assert.equal(new ResponseCache(place.dir, { ...limits, maxEntries: 1 }).find("a"), undefined, `round ${round}`);
  }
});

test("What is damaged or half written is not used", async () => {
  using place = createPlace();
  const cache = new ResponseCache(place.dir, limits);
  writeFileSync(place.file, "0123456789");
  await cache.store("a", place.file, 10);
  writeFileSync(join(place.dir, "a.json"), "012");
  assert.equal(cache.find("a"), undefined);
  writeFileSync(join(place.dir, "x.part"), "");
  assert.ok(new ResponseCache(place.dir, limits));
  assert.deepEqual(readdirSync(place.dir), []);
});

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Progress } from "../../../src/engines/engine.ts";
import { makeAttempt } from "../../fixtures/sdapi-answer.ts";
import { skip, startBundledEngine } from "../../fixtures/bundled-engine.ts";
import { connect, say } from "./connection.ts";

const small = { prompt: "a lighthouse", steps: 2, width: 64, height: 64, seed: 7 };

test("the bundled engine runs jobs, and a cancel ends one job and no other", { timeout: 180_000, skip }, async () => {
  await using real = await startBundledEngine();
  const engine = connect(real.url, { kind: "diffusers", pace: { progressMs: 20 }, slots: 2 });
  while (!(await engine.isReady({ signal: AbortSignal.timeout(120_000) })));
  const never = new AbortController().signal;

  await using first = await makeAttempt({ ...small, steps: 30, width: 128, height: 128 });
  await using second = await makeAttempt({ ...small, steps: 1000 });
  const progress: Progress[] = [];
  let started: (() => void) | undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  const onProgress = (seen: Progress) => {
    progress.push(seen);
    started?.();
  };
  const one = engine.run({ ...first, id: "one" }, { signal: never, onProgress, wantsPreviews: () => true });
  await Promise.race([running, one]);
  // Queued behind the first one; the engine's interrupt must find it there, and leave the running one alone.
  const cancel = new AbortController();
  const two = engine.run({ ...second, id: "two" }, { signal: cancel.signal });
  cancel.abort();
  assert.equal(say(await two), "cancelled");
  const result = await one;
  assert.equal(say(result), "done");
  assert.ok(result.type === "done" && result.output.images[0]?.width === 128);
  assert.ok(
    progress.every(({ steps }) => steps === undefined || steps === 30),
    JSON.stringify(progress),
  );

  const preview = progress.find((seen) => seen.preview)?.preview;
  assert.equal(preview?.mime, "image/png");
  assert.equal(Buffer.from(preview.base64, "base64").subarray(1, 4).toString(), "PNG");
  assert.ok(progress.some(({ etaMs }) => etaMs !== undefined));

  await using bad = await makeAttempt({ steps: "many" });
  assert.match(say(await engine.run(bad, { signal: never })), /^engine\.rejected Cannot run the job: steps: /);
  const refused = await engine.run(bad, { signal: never });
  assert.equal(refused.type === "failed" && refused.details?.["field"], "steps");
  await engine.freeMemory?.({ signal: never });
  await engine.settle({ signal: never });
  await using last = await makeAttempt({ ...small, init_images: [await imageOf(engine)] });
  assert.equal(say(await engine.run(last, { signal: never })), "done");
});

async function imageOf(engine: ReturnType<typeof connect>): Promise<string> {
  await using attempt = await makeAttempt(small);
  const result = await engine.run(attempt, { signal: new AbortController().signal });
  assert.ok(result.type === "done", say(result));
  return (JSON.parse(readFileSync(result.output.answer.path, "utf8")) as { images: string[] }).images[0] ?? "";
}

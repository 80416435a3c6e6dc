import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { extendEngine } from "../../../src/jobs/extend-engine.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { skip, startBundledEngine } from "../../fixtures/bundled-engine.ts";
import { httpConfig, startRig } from "../../jobs/worker-rig.ts";
import { connect } from "./connection.ts";

type Reply = { status: string; error?: string; output?: { images: string[]; info: string; parameters: { prompt: string } } };

const small = { steps: 3, width: 64, height: 64, subseed: 3 };

test("the real engine runs jobs in one call, each with its own answer, and identical ones from the cache", { timeout: 240_000, skip }, async () => {
  await using real = await startBundledEngine();
  const cacheDir = mkdtempSync(join(tmpdir(), "fettle-cache-"));
  const extend = extendEngine({
    jobs: { batching: { enabled: true, maxSize: 3, maxWait: 600_000 }, responseCache: { enabled: true, maxSize: 10_000_000, maxEntries: 10 } },
    cacheDir,
    readAnswer: (attempt) => createAnswerReader(attempt, { blackImages: "fail" }),
  });
  const engine = extend(connect(real.url, { kind: "diffusers" }));
  while (!(await engine.isReady({ signal: AbortSignal.timeout(120_000) })));
  // Until the checkpoint's hash is known nothing can be kept.
  while (!((await (await fetch(`${real.url}/sdapi/v1/options`)).json()) as { sd_checkpoint_hash: string }).sd_checkpoint_hash);
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), concurrency: 3 } } });
  const url = await rig.untilListening();
  const run = async (input: Record<string, unknown>) =>
    (await (await fetch(`${url}/runsync?wait=200000`, { method: "POST", body: JSON.stringify({ input }) })).json()) as Reply;
  const jobs = ["a cat", "a dog", "a bird"].map((prompt, index) => ({ ...small, prompt, seed: index + 1 }));
  const together = await Promise.all(jobs.map(run));
  together.forEach(({ output, error }, index) => {
    assert.ok(output, error);
    const info = JSON.parse(output.info) as { prompt: string; seed: number; infotexts: string[] };
    assert.deepEqual([output.parameters.prompt, info.prompt, info.seed, output.images.length], [jobs[index]?.prompt, jobs[index]?.prompt, index + 1, 1]);
  });
  assert.equal(rig.lines.filter((line) => line.includes("shares a call of engine with 2 more")).length, 3);
  const again = await Promise.all(jobs.map(run));
  assert.deepEqual(
    again.map(({ output }) => output),
    together.map(({ output }) => output),
  );
  assert.equal(rig.lines.filter((line) => line.includes("answered from the response cache")).length, 3);
  // Prompts of different length share no pass: each runs alone, and is answered.
  const uneven = await Promise.all(
    [
      { ...small, prompt: "x" },
      { ...small, prompt: "y" },
      { ...small, prompt: "word ".repeat(100) },
    ].map(run),
  );
  assert.ok(uneven.every(({ status }) => status === "COMPLETED"));
  rmSync(cacheDir, { recursive: true, force: true });
});

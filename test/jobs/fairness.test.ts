import assert from "node:assert/strict";
import { test } from "node:test";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { ask } from "../server/http-rig.ts";
import { createScriptedEngine, doneWith } from "./scripted-engine.ts";
import { httpConfig, limit, runpodConfig, startRig } from "./worker-rig.ts";

test("a long queue over HTTP does not keep RunPod's jobs from the engine that they share", { timeout: 30_000 }, async () => {
  await using platform = await startRunpodPlatform();
  const engine = createScriptedEngine();
  const begin = Promise.withResolvers<void>();
  // After three jobs of HTTP in a row the engine is busy until RunPod's next job has been taken: that must happen.
  engine.script = async (attempt) => {
    await begin.promise;
    const names = engine.attempts.map(({ jobId }) => jobId);
    const next = names.filter((name) => name.startsWith("r")).length;
    if (attempt.jobId.startsWith("h") && next < 5 && names.length > 3 && names.slice(-3).every((name) => name.startsWith("h")))
      await rig.untilEvent((event) => event.type === "job.received" && event.job === `r${next}`);
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig(), runpod: runpodConfig(platform.env()) } });
  const url = await rig.untilListening();
  const posts = Array.from({ length: 100 }, (_, n) => ask(`${url}/runsync`, { id: `h${n}`, input: {} }));
  await engine.facts.until("the first job runs", () => (engine.running > 0 ? true : undefined), limit());
  platform.submit(...Array.from({ length: 5 }, (_, n) => ({ id: `r${n}`, input: {} })));
  begin.resolve();
  await Promise.all([...posts, ...[0, 1, 2, 3, 4].map((n) => platform.waitForResult(`r${n}`))]);
  const order = engine.attempts.map(({ jobId }) => jobId);
  assert.ok(order.indexOf("r4") < 95, order.join(" "));
});

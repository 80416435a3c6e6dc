import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startRunpodPlatform } from "../doubles/runpod-platform.ts";
import { createPlace } from "./program.ts";

const runpod = `{ takeUrl: "\${RUNPOD_WEBHOOK_GET_JOB}", doneUrl: "\${RUNPOD_WEBHOOK_POST_OUTPUT}", pingUrl: "\${RUNPOD_WEBHOOK_PING}", apiKey: "\${RUNPOD_AI_API_KEY}", podId: "\${RUNPOD_POD_ID}" }`;

test("a second SIGTERM cuts the drain, and the job that it cuts gets its failure posted", { timeout: 20_000 }, async () => {
  await using engine = await startNoopEngine("--hold");
  await using platform = await startRunpodPlatform();
  await using place = createPlace();
  const config = join(place.dir, "fettle.yaml");
  writeFileSync(
    config,
    `engines: { noop: { kind: a1111, url: "${engine.url}" } }\nsources: { runpod: ${runpod} }\nhealth: { enabled: false }\nstop: { budget: 60s }\nlog: { level: debug }\n`,
  );
  const fettle = place.run(["start", "--config", config], { env: platform.env() });
  platform.submit({ id: "cut", input: { prompt: "never done" } });
  await engine.waitFor({ running: 1 });
  process.kill(fettle.pid, "SIGTERM");
  await fettle.untilSaid(/Stopping: received SIGTERM/);
  process.kill(fettle.pid, "SIGTERM");
  const post = await platform.waitForResult("cut");
  assert.match(post.text ?? "", /"error":/);
  assert.equal(await fettle.ended, 143);
  assert.deepEqual([platform.outstanding(), platform.violations, platform.summary().repeats], [[], [], 0]);
});

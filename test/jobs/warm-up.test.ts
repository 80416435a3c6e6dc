import assert from "node:assert/strict";
import { test } from "node:test";
import { createScriptedEngine } from "./scripted-engine.ts";
import { httpConfig, limit, startRig } from "./worker-rig.ts";

const sources = { http: httpConfig() };
const ready = { type: "service.ready", service: "scripted", afterMs: 1 } as const;
const spawned = { type: "service.spawned", service: "scripted", pid: 1, restarts: 1 } as const;
const exited = { type: "service.exited", service: "scripted", ending: { code: 1, signal: null }, wanted: false, lastLines: [] } as const;
const post = async (url: string, id: string, path = "/runsync"): Promise<{ status: string }> =>
  (await (await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify({ id, input: {} }) })).json()) as { status: string };

test("an engine is warmed up before its first job, once for each process of it", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const warm = Promise.withResolvers<void>();
  const story: string[] = [];
  engine.warmUp = async () => {
    story.push("warm-up");
    engine.facts.changed();
    if (story.length === 1) await warm.promise;
  };
  engine.script = (attempt) => void story.push(attempt.jobId);
  await using rig = await startRig(engine, { sources, engineIsService: true });
  const url = await rig.untilListening();
  rig.tell(ready);
  assert.equal((await post(url, "first", "/run")).status, "IN_QUEUE");
  await engine.facts.until("a warm-up", () => story[0], limit());
  assert.deepEqual(story, ["warm-up"]);
  warm.resolve();
  assert.equal((await post(url, "second")).status, "COMPLETED");
  rig.tell(exited);
  rig.tell(spawned);
  rig.tell(ready);
  assert.equal((await post(url, "third")).status, "COMPLETED");
  assert.deepEqual(story, ["warm-up", "first", "second", "warm-up", "third"]);
});

test("an engine that cannot be warmed up takes jobs all the same, and the log says why", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  engine.warmUp = () => Promise.reject(new Error("/warm.json cannot be read"));
  await using rig = await startRig(engine, { sources, engineIsService: true });
  const url = await rig.untilListening();
  rig.tell(ready);
  assert.equal((await post(url, "job")).status, "COMPLETED");
  assert.match(rig.lines.join("\n"), /Cannot warm up scripted, it takes jobs all the same: \/warm\.json cannot be read\./);
});

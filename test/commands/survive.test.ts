import assert from "node:assert/strict";
import { test } from "node:test";
import { startNoopEngine } from "../doubles/noop-engine.ts";
import { startReceiver } from "../jobs/webhooks/receiver.ts";
import { ask } from "../server/http-rig.ts";
import { startFettle } from "./fettle-at-work.ts";

const sources = "{ http: { port: 0, webhook: { allowPrivate: true, timeout: 5s } } }";
const ids = ["runs", "waits-1", "waits-2", "waits-3"];

/** Both processes at once, as a machine that loses its power ends them. */
async function killAll(fettle: Awaited<ReturnType<typeof startFettle>>): Promise<void> {
  const worker = await fettle.workerPid();
  process.kill(fettle.pid, "SIGKILL");
  process.kill(worker, "SIGKILL");
  await fettle.exited;
}

test("kill -9 of all of fettle: each accepted job has one result in the next life, and its webhook arrives", { timeout: 120_000 }, async () => {
  await using engine = await startNoopEngine("--hold");
  let isUp = false;
  await using receiver = await startReceiver((response) => void response.writeHead(isUp ? 200 : 503).end());
  const first = await startFettle(engine.url, sources);
  const again = () => startFettle(engine.url, sources, { dir: first.dir });
  const [, url] = await first.untilLog(/Jobs are taken at (\S+)/);
  const done = ask(`${url}/runsync`, { id: "done", input: { prompt: "done" }, webhook: receiver.url });
  await engine.waitFor({ running: 1 });
  await engine.release();
  const before = await done;
  assert.equal(before.json["status"], "COMPLETED");
  await first.untilLog(/Cannot deliver the webhook .* HTTP 503/);
  for (const id of ids) await ask(`${url}/run`, { id, input: { prompt: id }, webhook: receiver.url });
  await engine.waitFor({ started: 2 });
  await killAll(first);

  const second = await again();
  isUp = true;
  const [, there] = await second.untilLog(/Jobs are taken at (\S+)/);
  // What the dead worker left on the engine is interrupted before it runs again; then all follow in their order.
  for (let started = 3; started < 3 + ids.length; started++) {
    await engine.waitFor({ started });
    await engine.release();
  }
  const results = new Map<string, string>();
  for (const id of ids) {
    const { json } = await ask(`${there}/runsync`, { id, input: { prompt: id }, webhook: receiver.url });
    assert.equal(json["status"], "COMPLETED", JSON.stringify(json).slice(0, 300));
    results.set(id, JSON.stringify(json));
  }
  results.set("done", JSON.stringify(before.json));
  assert.equal(JSON.stringify((await ask(`${there}/status/done`)).json), results.get("done"));
  const { prompts } = await engine.stats();
  assert.deepEqual([prompts["runs"]?.started, ...ids.slice(1).map((id) => prompts[id]?.started), prompts["done"]?.started], [2, 1, 1, 1, 1]);
  await receiver.untilReceived(1 + results.size);
  const said = new Map<string, Set<string>>();
  for (const { text } of receiver.received) {
    const { id } = JSON.parse(text) as { id: string };
    said.set(id, (said.get(id) ?? new Set()).add(text));
  }
  assert.deepEqual([...said].map(([id, texts]) => [id, [...texts]]).toSorted(), [...results].map(([id, text]) => [id, [text]]).toSorted());

  await killAll(second);
  await using third = await again();
  const [, last] = await third.untilLog(/Jobs are taken at (\S+)/);
  for (const [id, text] of results) assert.equal(JSON.stringify((await ask(`${last}/status/${id}`)).json), text);
  assert.equal((await engine.stats()).started, 2 + ids.length);
});

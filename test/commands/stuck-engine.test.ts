import assert from "node:assert/strict";
import { test } from "node:test";
import { createPlace } from "./program.ts";

type Reply = { status: string; retries?: number; record?: { attempts: { cause?: string; remedy?: string }[] }; error?: string };

test("An engine that stops in mid-job is restarted by its supervisor, and the job runs again on the fresh one", { timeout: 90_000 }, async () => {
  await using place = createPlace();
  const more = "sources: { http: { port: 0 } }\njobs: { stall: 1s, loading: 1s, letGo: 500ms }";
  const fettle = place.run(["start", "--config", place.configure(more)]);
  const [, port] = await fettle.untilSaid(/webui \| listening (\d+)/);
  const [, url = ""] = await fettle.untilSaid(/Jobs are taken at (\S+)/);
  const engine = `http://127.0.0.1:${port}`;
  const answer = fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ id: "stuck", input: { prompt: "x", noop: { delayMs: 300 } } }) });
  await fetch(`${engine}/wait?running=1`);
  const { pid } = (await (await fetch(`${engine}/stats`)).json()) as { pid: number };
  process.kill(pid, "SIGSTOP");
  try {
    const reply = (await (await answer).json()) as Reply;
    assert.deepEqual([reply.status, reply.retries], ["COMPLETED", 1], reply.error);
    const { record } = (await (await fetch(`${url}/status/stuck?record=1`)).json()) as Reply;
    assert.deepEqual(
      record?.attempts.map(({ cause, remedy }) => [cause, remedy]),
      [
        ["engine.stalled", "restart"],
        [undefined, undefined],
      ],
    );
  } finally {
    // Gone, if all went well.
    try {
      process.kill(pid, "SIGKILL");
    } catch {}
  }
  assert.match(fettle.said(), /Asks for a restart of engine webui: engine\.stalled/);
});

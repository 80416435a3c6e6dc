import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { FeedReader } from "../../src/jobs/feed-reader.ts";
import type { FeedMessage } from "../../src/jobs/job-feed.ts";
import { createScriptedEngine, doneWith } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";
import { ask } from "./http-rig.ts";

interface Event {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: Record<string, unknown>;
}

/** Reads events until `enough` says so, then hangs up. */
async function follow(url: string, enough: (seen: readonly Event[]) => boolean, headers: Record<string, string> = {}): Promise<Event[]> {
  const hangUp = new AbortController();
  const response = await fetch(url, { headers, signal: AbortSignal.any([hangUp.signal, limit().signal]) });
  assert.equal(response.status, 200);
  const seen: Event[] = [];
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(text.slice(0, end))?.[1];
      const [event, data] = [field("event"), field("data")];
      if (event && data) seen.push({ id: field("id"), event, data: JSON.parse(data) as Record<string, unknown> });
      text = text.slice(end + 2);
    }
    if (enough(seen)) break;
  }
  hangUp.abort();
  return seen;
}

const isOver = (id: string) => (seen: readonly Event[]) =>
  seen.some(({ event, data }) => event === "state" && data["id"] === id && data["status"] === "COMPLETED");

test("A job's way is told to who follows it; previews only to who wants them, and who comes back gets what he missed", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const gate = Promise.withResolvers<void>();
  const asked: boolean[] = [];
  engine.script = async (attempt, { onProgress, wantsPreviews }) => {
    if (attempt.jobId === "a") await gate.promise;
    asked.push(wantsPreviews?.() === true);
    onProgress?.({ fraction: 0.25, step: 5, steps: 20, etaMs: 1500, preview: { mime: "image/png", base64: "aGk=" } });
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  await ask(`${url}/run`, { id: "a", input: {} });
  await engine.facts.until("it runs", () => engine.attempts[0], limit());
  const two = Promise.all([follow(`${url}/events?job=a&previews=1`, isOver("a")), follow(`${url}/v2/x/events`, isOver("a"))]);
  await rig.untilReaders(2);
  await ask(`${url}/run`, { id: "b", input: {} });
  gate.resolve();
  const [mine, all] = await two;
  assert.deepEqual(
    mine.map(({ event, data }) => [event, data["status"] ?? data["step"] ?? data["mime"]]),
    [
      ["state", "IN_PROGRESS"],
      ["progress", 5],
      ["preview", "image/png"],
      ["state", "COMPLETED"],
    ],
  );
  assert.deepEqual(mine[1]?.data, { id: "a", source: "http", fraction: 0.25, step: 5, steps: 20, etaMs: 1500 });
  assert.ok(all.some(({ data }) => data["id"] === "b" && data["status"] === "IN_QUEUE") && !all.some(({ event }) => event === "preview"));
  await ask(`${url}/runsync`, { id: "b", input: {} });
  assert.deepEqual(asked, [true, false], "nobody listens to previews of the second job");

  const last = mine.at(-1)?.id ?? "";
  const missed = await follow(`${url}/events`, isOver("b"), { "Last-Event-ID": last });
  assert.deepEqual([missed[0]?.data["id"], missed.some(({ data }) => data["id"] === "a" && data["status"] === "IN_QUEUE")], ["b", false]);
  const gap = await follow(`${url}/events?job=b`, isOver("b"), { "Last-Event-ID": "0123abcd-7" });
  assert.deepEqual([gap[0]?.event, gap[1]?.data["status"]], ["gap", "COMPLETED"]);
});

test("Readers that do not read, and readers that are gone, cost nothing that grows", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  const preview = { mime: "image/png", base64: "A".repeat(500_000) };
  engine.script = (attempt, { onProgress }) => {
    for (let step = 1; step <= 100; step++) onProgress?.({ fraction: step / 100, step, steps: 100, preview });
    return doneWith(attempt, "{}");
  };
  await using rig = await startRig(engine, { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  const { port, host } = new URL(url);
  const sockets = Array.from({ length: 10 }, () => {
    const socket = connect(Number(port), "127.0.0.1");
    socket.pause();
    socket.write(`GET /events?previews=1 HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    return socket;
  });
  await rig.untilReaders(10);
  for (let at = 0; at < 20; at++) assert.equal((await ask(`${url}/runsync`, { input: { at } })).json["status"], "COMPLETED");
  // 10 readers × 20 jobs × 100 previews of 0.5 MB were made; a reader's line holds 2 MB at most, and the system some more.
  assert.ok(process.memoryUsage().rss < 1_200_000_000, `${process.memoryUsage().rss} bytes`);
  for (const socket of sockets) socket.destroy();
  await rig.untilReaders(0);
  assert.equal((await ask(`${url}/health`)).status, 200);
});

test("A reader's line makes room for what is newer, keeps states, and ends when even those are too many", async () => {
  const message = (event: FeedMessage["event"], data: string, job = "a"): FeedMessage => ({ event, job, data });
  let closed = 0;
  const reader = new FeedReader({ job: undefined, wantsPreviews: true, onClose: () => void (closed += 1) });
  for (let at = 0; at < 1000; at++) {
    reader.push(message("preview", `p${at}`));
    reader.push(message("progress", `g${at}`));
  }
  reader.push(message("state", "s"));
  const read: string[] = [];
  while (reader.waiting > 0) read.push(((await reader.next(1)) as FeedMessage).data);
  assert.deepEqual(read, ["p999", "g999", "s"]);
  assert.equal(await reader.next(1), "quiet");
  for (let at = 0; at < 600; at++) reader.push(message("state", `s${at}`, `${at}`));
  assert.deepEqual([closed, reader.waiting], [1, 500]);
  while (reader.waiting > 0) await reader.next(1);
  assert.equal(await reader.next(1), undefined);
});

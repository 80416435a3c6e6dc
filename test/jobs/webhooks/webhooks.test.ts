import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import type { FettleEvent } from "../../../src/events/event.ts";
import { Journal } from "../../../src/jobs/journal.ts";
import { prepareJournalPlace } from "../../../src/jobs/journal-place.ts";
import { sealError } from "../../../src/jobs/seal.ts";
import { WebhookOutbox } from "../../../src/jobs/webhooks/outbox.ts";
import { createFacts } from "../../doubles/facts.ts";
import { ask } from "../../server/http-rig.ts";
import { createScriptedEngine, doneWith } from "../scripted-engine.ts";
import { httpConfig, limit, startRig } from "../worker-rig.ts";
import { startReceiver } from "./receiver.ts";

const secret = `whsec_${Buffer.from("a secret of twenty-four b").toString("base64")}`;
const usual = httpConfig().webhook;

/** An outbox over a real journal, with short pauses; jobs are finished by hand. */
async function startOutbox(config: Partial<typeof usual> = {}, stateDir = mkdtempSync(join(tmpdir(), "fettle-webhook-"))) {
  const journal = await Journal.open(prepareJournalPlace(stateDir), { ...limit(), onWarning: () => {} });
  const events: FettleEvent[] = [];
  const facts = createFacts(() => JSON.stringify(events));
  const emit = (event: FettleEvent) => {
    events.push(event);
    facts.changed();
  };
  const outbox = new WebhookOutbox({ config: { ...usual, ...config }, journal, emit, firstPauseMs: 5 });
  return {
    stateDir,
    journal,
    events,
    outbox,
    finish(id: string, webhook: string) {
      const { row } = journal.accept({ source: "http", id, receivedAt: 1 }, "{}", { webhook });
      const { sizeBytes } = sealError(journal.bodyPath(row.key), id);
      journal.finish(row.key, { jobId: id, status: "FAILED", bodyPath: "", sizeBytes, code: "engine.failed", delayMs: 1, executionMs: 2 }, { at: Date.now() });
      journal.acknowledge(row.key);
      outbox.look();
    },
    until: (what: string, look: (event: FettleEvent) => boolean) => facts.until(what, () => events.find(look), limit()),
    async [Symbol.asyncDispose]() {
      await outbox.close();
      journal.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

const isGivenUp = (event: FettleEvent) => event.type === "webhook.failed" && event.retryInMs === 0;

test("A job's result arrives as /status shows it, signed by the scheme, without its address in any log", { timeout: 60_000 }, async () => {
  await using receiver = await startReceiver();
  const engine = createScriptedEngine();
  const image = "QUJD".repeat(1_000_000);
  engine.script = (attempt) => doneWith(attempt, JSON.stringify({ images: [image] }));
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), webhook: { ...usual, secret } } } });
  const url = await rig.untilListening();
  const webhook = `${receiver.url.replace("://", "://user:pass-word@")}/hook?token=tell-nobody`;
  await ask(`${url}/run`, { id: "w", input: {}, webhook });
  const [received] = await receiver.untilReceived(1);
  assert.ok(received);
  assert.equal(received.text, JSON.stringify((await ask(`${url}/status/w`)).json));
  const headers = Object.fromEntries(["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => [name, String(received.headers[name])]));
  assert.deepEqual((new Webhook(secret).verify(received.text, headers) as { id: string }).id, "w");
  assert.throws(() => new Webhook(secret).verify(received.text.replace("w", "x"), headers));
  assert.equal(received.headers.authorization, `Basic ${Buffer.from("user:pass-word").toString("base64")}`);
  assert.equal(received.path, "/hook?token=tell-nobody");
  await rig.untilLine(/webhook delivered to 127\.0\.0\.1/);
  assert.doesNotMatch(rig.lines.join("\n"), /pass-word|tell-nobody|whsec_/);
});

test("The configured address is told of every job; a job's own webhook comes first, and a bad one is refused", { timeout: 60_000 }, async () => {
  await using receiver = await startReceiver();
  const config = { ...httpConfig(), webhook: { ...usual, url: `${receiver.url}/all` } };
  await using rig = await startRig(createScriptedEngine(), { sources: { http: config } });
  const url = await rig.untilListening();
  await ask(`${url}/runsync`, { input: {} });
  await ask(`${url}/runsync`, { input: {}, webhook: `${receiver.url}/own` });
  await receiver.untilReceived(2);
  assert.deepEqual(receiver.received.map(({ path }) => path).toSorted(), ["/all", "/own"]);
  for (const webhook of [7, "ftp://example.com/", "not a url", `http://${"x".repeat(3000)}/`]) {
    const refused = await ask(`${url}/run`, { input: {}, webhook });
    assert.deepEqual([refused.status, refused.json["path"]], [422, "webhook"], String(webhook).slice(0, 40));
  }
});

test("An address that is not public is never asked, unless the configuration says so", { timeout: 60_000 }, async () => {
  await using receiver = await startReceiver();
  await using box = await startOutbox({ allowPrivate: false });
  box.outbox.open();
  const { port } = new URL(receiver.url);
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, "169.254.169.254", "[::1]:1", "0x7f.1"]) {
    box.finish(host, `http://${host}/`);
    await box.until(`${host} is given up`, (event) => isGivenUp(event) && (event as { job: string }).job === host);
  }
  assert.equal(receiver.received.length, 0);
  await box.outbox.close();
  await using named = await startOutbox({ allowPrivate: false, allowHosts: ["localhost"] });
  named.outbox.open();
  named.finish("named", `http://localhost:${port}/`);
  await receiver.untilReceived(1);
});

test("5xx, 429 and broken connections are tried again with the same id; 410 ends at once, other refusals after some tries", { timeout: 60_000 }, async () => {
  const statuses: Record<string, number[]> = { "/again": [500, 429, 0, 503, 204], "/gone": [410], "/no": [404, 404, 404, 404, 404, 200], "/moved": [302, 200] };
  await using receiver = await startReceiver((response, { path }) => {
    const status = statuses[path]?.shift() ?? 200;
    if (status === 0) return void response.socket?.destroy();
    response.writeHead(status, status === 302 ? { Location: "/elsewhere" } : {}).end();
  });
  await using box = await startOutbox();
  box.outbox.open();
  for (const path of Object.keys(statuses)) box.finish(path, receiver.url + path);
  await box.until("it arrived after all", (event) => event.type === "webhook.sent" && event.job === "/again");
  await box.until("410 is the end", (event) => isGivenUp(event) && (event as { job: string }).job === "/gone");
  await box.until("404 is the end", (event) => isGivenUp(event) && (event as { job: string }).job === "/no");
  await box.until("a redirect is not followed", (event) => event.type === "webhook.sent" && event.job === "/moved");
  const tries = (path: string) => receiver.received.filter((one) => one.path === path);
  assert.deepEqual([tries("/again").length, tries("/gone").length, tries("/no").length, tries("/elsewhere").length], [5, 1, 5, 0]);
  assert.equal(new Set(tries("/again").map(({ headers }) => headers["webhook-id"])).size, 1);
});

test("A receiver that hangs holds up no other host, gets few tries at once, and is given up in time", { timeout: 60_000 }, async () => {
  await using hanging = await startReceiver(() => {});
  await using good = await startReceiver();
  await using box = await startOutbox({ timeout: 200, retryFor: 300, perHost: 2 });
  box.outbox.open();
  for (let at = 0; at < 30; at++) box.finish(`hangs-${at}`, hanging.url);
  for (let at = 0; at < 30; at++) box.finish(`good-${at}`, good.url);
  await good.untilReceived(30);
  await box.until("one is given up", isGivenUp);
  assert.ok(hanging.counts.most <= 2, `${hanging.counts.most} at once`);
});

test("What a killed process had not sent is sent by the next one", { timeout: 60_000 }, async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "fettle-webhook-"));
  await using receiver = await startReceiver();
  const dead = await startOutbox({}, stateDir);
  dead.finish("kept", receiver.url);
  dead.journal.close();
  await using box = await startOutbox({}, stateDir);
  assert.equal(receiver.received.length, 0);
  box.outbox.open();
  const [received] = await receiver.untilReceived(1);
  assert.equal((JSON.parse(received?.text ?? "") as { id: string }).id, "kept");
  await box.until("it is done", (event) => event.type === "webhook.sent");
  assert.equal(box.journal.webhooks.nextAt(), undefined);
});

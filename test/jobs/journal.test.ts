import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Journal } from "../../src/jobs/journal.ts";
import { prepareJournalPlace } from "../../src/jobs/journal-place.ts";
import type { TerminalResult } from "../../src/jobs/terminal-result.ts";

const signal = new AbortController().signal;

async function openIn(stateDir: string, warnings: string[] = []): Promise<Journal> {
  return await Journal.open(prepareJournalPlace(stateDir), { signal, onWarning: (message) => warnings.push(message) });
}

function temporaryState() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-journal-"));
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

const result = (jobId: string, sizeBytes = 10): TerminalResult => ({ jobId, status: "COMPLETED", bodyPath: "", sizeBytes, delayMs: 1, executionMs: 2 });

test("A job's way through the journal, seen again after each reopening", async () => {
  using state = temporaryState();
  let journal = await openIn(state.dir);
  const { row, isNew } = journal.accept({ source: "http", id: "a", receivedAt: 5 }, '{"input":{}}');
  assert.deepEqual([isNew, row.state, row.attempts], [true, "accepted", 0]);
  assert.equal(journal.start(row.key, "gpu0"), 1);
  journal.close();

  journal = await openIn(state.dir);
  const [found] = journal.recover();
  assert.deepEqual([found?.id, found?.state, found?.losses, found?.engine], ["a", "running", 1, "gpu0"]);
  assert.equal(journal.envelope(row.key), '{"input":{}}');
  assert.equal(journal.start(row.key, "gpu1"), 2);
  journal.finish(row.key, result("a"), { at: 100, body: Buffer.from("0123456789") });
  journal.close();

  journal = await openIn(state.dir);
  assert.deepEqual(
    journal.recover().map(({ state: at, status, losses }) => [at, status, losses]),
    [["finished", "COMPLETED", 1]],
  );
  const [finished] = journal.recover();
  assert.ok(finished && journal.hasBody(finished), "the body that never reached its file is put back");
  assert.equal(readFileSync(journal.bodyPath(row.key), "utf8"), "0123456789");
  journal.acknowledge(row.key);
  assert.deepEqual(journal.recover(), []);
  assert.equal(journal.find("http", "a")?.state, "delivered");
  assert.deepEqual(journal.expire(100, Number.MAX_SAFE_INTEGER), []);
  assert.deepEqual(journal.expire(101, Number.MAX_SAFE_INTEGER), [row.key]);
  journal.close();
});

test("An id is accepted once per source", async () => {
  using state = temporaryState();
  const journal = await openIn(state.dir);
  const first = journal.accept({ source: "http", id: "a", receivedAt: 1 }, "{}");
  const again = journal.accept({ source: "http", id: "a", receivedAt: 2 }, "{}");
  assert.deepEqual([again.isNew, again.row.key], [false, first.row.key]);
  assert.equal(journal.accept({ source: "runpod", id: "a", receivedAt: 3 }, "{}").isNew, true);
  journal.close();
});

test("A job given back is no loss, one that was running when the worker died is", async () => {
  using state = temporaryState();
  const journal = await openIn(state.dir);
  const back = journal.accept({ source: "http", id: "back", receivedAt: 1 }, "{}", { engine: "gpu0" }).row;
  journal.accept({ source: "http", id: "lost", receivedAt: 1 }, "{}", { engine: "gpu0" });
  journal.requeue(back.key);
  assert.deepEqual(
    journal.recover().map(({ id, losses }) => [id, losses]),
    [
      ["back", 0],
      ["lost", 1],
    ],
  );
  journal.close();
});

test("The oldest kept results go first when they take too much room", async () => {
  using state = temporaryState();
  const journal = await openIn(state.dir);
  const keys = [1, 2, 3].map((at) => {
    const { row } = journal.accept({ source: "http", id: `${at}`, receivedAt: at }, "{}");
    journal.finish(row.key, result(`${at}`, 400), { at });
    journal.acknowledge(row.key);
    return row.key;
  });
  assert.deepEqual(journal.expire(0, 1000), [keys[0]]);
  journal.close();
});

test("A damaged journal is moved aside with a warning", async () => {
  using state = temporaryState();
  const { databasePath } = prepareJournalPlace(state.dir);
  writeFileSync(databasePath, "this is no database at all\n".repeat(500));
  const warnings: string[] = [];
  const journal = await openIn(state.dir, warnings);
  assert.match(warnings[0] ?? "", /damaged/);
  assert.ok(existsSync(`${databasePath}.damaged`));
  assert.equal(journal.accept({ source: "http", id: "a", receivedAt: 1 }, "{}").isNew, true);
  journal.close();
});

test("A second worker waits for the first, and refuses when told to end", async () => {
  using state = temporaryState();
  const first = await openIn(state.dir);
  const giveUp = new AbortController();
  const warned = Promise.withResolvers<string>();
  const refused = Journal.open(first.place, { signal: giveUp.signal, onWarning: warned.resolve });
  assert.match(await warned.promise, /Another worker/);
  giveUp.abort();
  await assert.rejects(refused, { code: "machine.state-dir", message: /another worker uses it/ });
  const second = Journal.open(first.place, { signal, onWarning: () => {} });
  first.close();
  (await second).close();
});

test("A state folder that cannot be used is said so", () => {
  using state = temporaryState();
  writeFileSync(join(state.dir, "file"), "");
  assert.throws(() => prepareJournalPlace(join(state.dir, "file", "below")), { code: "machine.state-dir" });
  assert.deepEqual(readdirSync(state.dir), ["file"]);
});

test("A journal of the version before comes along with its jobs", async () => {
  using state = temporaryState();
  const { databasePath } = prepareJournalPlace(state.dir);
  const old = new DatabaseSync(databasePath);
  old.exec(`CREATE TABLE job (key INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, id TEXT NOT NULL, receivedAt INTEGER NOT NULL, envelope TEXT,
    state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, losses INTEGER NOT NULL DEFAULT 0, engine TEXT, status TEXT, code TEXT,
    sizeBytes INTEGER NOT NULL DEFAULT 0, delayMs INTEGER NOT NULL DEFAULT 0, executionMs INTEGER NOT NULL DEFAULT 0, finishedAt INTEGER, body BLOB,
    UNIQUE (source, id)) STRICT;
    INSERT INTO job (source, id, receivedAt, envelope, state) VALUES ('http', 'old', 1, '{"input":{}}', 'accepted');
    PRAGMA user_version = 2;`);
  old.close();
  const warnings: string[] = [];
  for (let life = 0; life < 2; life++) {
    const journal = await openIn(state.dir, warnings);
    assert.deepEqual(
      journal.recover().map(({ id, record, errorPath }) => [id, record, errorPath]),
      [["old", null, null]],
    );
    journal.close();
  }
  assert.deepEqual(warnings, []);
});

test("The record stays with the job, and its last point is set when the result has arrived", async () => {
  using state = temporaryState();
  const journal = await openIn(state.dir);
  const { row } = journal.accept({ source: "http", id: "a", receivedAt: 1 }, "{}", { engine: "gpu0" });
  journal.note(row.key, '{"points":{"received":"r"},"attempts":[1]}');
  assert.equal(journal.lose(row.key), 1);
  journal.finish(row.key, { ...result("a"), status: "FAILED", code: "engine.rejected", errorPath: "input.steps" }, { at: 1 });
  journal.acknowledge(row.key, { sent: "s" });
  const found = journal.find("http", "a");
  assert.equal(found?.record, '{"points":{"received":"r","sent":"s"},"attempts":[1]}');
  assert.equal(found && journal.resultOf(found)?.errorPath, "input.steps");
  journal.renew(row.key, 2, "{}");
  assert.equal(journal.find("http", "a")?.record, null);
  journal.close();
});

test("An HTTP job's envelope stays for another run; a large one does not, and all together are bounded", async () => {
  using state = temporaryState();
  const journal = await openIn(state.dir);
  const run = (id: string, chars: number) => {
    const { row } = journal.accept({ source: "http", id, receivedAt: 1 }, `{"input":{"p":"${"x".repeat(chars)}"}}`, { keepsInput: true });
    journal.finish(row.key, result(id), { at: Date.now() });
    journal.acknowledge(row.key);
    return row.key;
  };
  const [small, large] = [run("small", 10), run("large", 17_000_000)];
  assert.equal(journal.repeat(large, 2), false);
  assert.equal(journal.repeat(small, 2), true);
  assert.deepEqual([journal.find("http", "small")?.state, journal.find("http", "small")?.status, journal.envelope(small)?.length], ["accepted", null, 28]);
  journal.finish(small, result("small"), { at: 0 });
  const many = Array.from({ length: 8 }, (_, index) => run(`many-${index}`, 10_000_000));
  const kept = many.filter((key) => journal.envelope(key) !== undefined);
  assert.ok(kept.length >= 4 && kept.length <= 8, `${kept.length} of 8 kept`);
  assert.equal(journal.envelope(small), undefined, "the oldest goes first");
  journal.close();
});

test("A webhook is due when its job has its result, survives a reopening and keeps its job from being forgotten", async () => {
  using state = temporaryState();
  let journal = await openIn(state.dir);
  const { row } = journal.accept({ source: "http", id: "a", receivedAt: 1 }, "{}", { webhook: "https://example.test/hook" });
  assert.deepEqual([journal.webhooks.due(Date.now(), 10), journal.webhooks.nextAt()], [[], undefined]);
  journal.finish(row.key, result("a"), { at: 5 });
  journal.acknowledge(row.key);
  journal.close();

  journal = await openIn(state.dir);
  const [due] = journal.webhooks.due(Date.now(), 10);
  assert.ok(due);
  assert.deepEqual([due.id, due.host, due.tries, due.finishedAt], ["a", "example.test", 0, 5]);
  journal.webhooks.postpone(due, { nextAt: 200, refused: true });
  assert.deepEqual([journal.webhooks.due(199, 10), journal.webhooks.nextAt()], [[], 200]);
  assert.deepEqual(journal.expire(1000, 0), []);
  assert.equal(journal.webhooks.beyond(9)[0]?.jobKey, row.key);
  journal.webhooks.remove(due);
  assert.deepEqual(journal.expire(1000, 0), [row.key]);
  journal.close();
});

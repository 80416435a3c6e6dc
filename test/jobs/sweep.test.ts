import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { join } from "node:path";
import { Finisher } from "../../src/jobs/finisher.ts";
import { prepareJournalPlace } from "../../src/jobs/journal-place.ts";
import { Journal } from "../../src/jobs/journal.ts";
import { limit } from "./worker-rig.ts";

test("old results are forgotten at once, and their files go without holding up whoever asked", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-sweep-"));
  const journal = await Journal.open(prepareJournalPlace(dir), { ...limit(), onWarning: () => {} });
  const finisher = new Finisher({ journal, emit: () => {}, keepMs: 1000 });
  try {
    const rows = ["a", "b", "c"].map((id) => journal.accept({ source: "http", id, receivedAt: 0 }, "{}").row);
    for (const row of rows) {
      finisher.fail(row, { code: "job.invalid", message: "No." });
      finisher.acknowledge(row);
      writeFileSync(journal.streamPath(row.key), "[]");
    }
    const files = rows.flatMap(({ key }) => journal.filesOf(key));
    const swept = finisher.sweep(Date.now() + 10_000);
    assert.deepEqual([journal.keepsDelivered(), files.every((file) => existsSync(file))], [false, true]);
    await swept;
    assert.deepEqual(
      files.filter((file) => existsSync(file)),
      [],
    );
  } finally {
    finisher.close();
    journal.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { pause } from "../util/pause.ts";
import type { JournalPlace } from "./journal-place.ts";

/** Raised when the tables change, with the steps that bring an older journal along; one of an unknown version is moved aside like a broken one. */
const schemaVersion = 3;
/** By the version they start from. New tables need no step: they are made where they are missing. */
const steps: Readonly<Record<number, string>> = {
  2: `ALTER TABLE job ADD COLUMN inputBytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN fingerprint TEXT;
    ALTER TABLE job ADD COLUMN errorPath TEXT;
    ALTER TABLE job ADD COLUMN record TEXT;`,
};
const schema = `
  CREATE TABLE IF NOT EXISTS job (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    receivedAt INTEGER NOT NULL,
    envelope TEXT,
    inputBytes INTEGER NOT NULL DEFAULT 0,
    fingerprint TEXT,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'running', 'finished', 'delivered')),
    attempts INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    engine TEXT,
    status TEXT,
    code TEXT,
    sizeBytes INTEGER NOT NULL DEFAULT 0,
    delayMs INTEGER NOT NULL DEFAULT 0,
    executionMs INTEGER NOT NULL DEFAULT 0,
    finishedAt INTEGER,
    body BLOB,
    errorPath TEXT,
    record TEXT,
    UNIQUE (source, id)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS webhook (
    jobKey INTEGER PRIMARY KEY REFERENCES job (key),
    messageId TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    nextAt INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  PRAGMA user_version = ${schemaVersion};`;

const waitForLockMs = 10_000;
const checkUpToBytes = 64 * 1024 * 1024;

/**
 * Opens the journal with SQLite's own exclusive lock, which the kernel drops when the process dies however it dies.
 * A broken file is moved aside with a warning: jobs in it are lost, but the worker must not crash in a loop over it.
 */
export async function openDatabase(
  place: JournalPlace,
  { signal, onWarning }: { signal: AbortSignal; onWarning: (message: string) => void },
): Promise<DatabaseSync> {
  const giveUpAt = performance.now() + waitForLockMs;
  for (let tries = 1; ; tries++) {
    try {
      return tryOpen(place);
    } catch (error) {
      const kind = kindOf(error);
      if (kind === "broken") {
        onWarning(`The journal ${place.databasePath} is damaged (${reasonOf(error)}); it was moved to ${moveAside(place.databasePath)} and a new one begun.`);
      } else if (kind !== "locked") {
        throw new FettleError("machine.state-dir", `Cannot open the journal ${place.databasePath}: ${reasonOf(error)}.`, { cause: error });
      } else if (performance.now() > giveUpAt || signal.aborted) {
        const hint = "Stop the other fettle, or give this one its own stateDir.";
        throw new FettleError("machine.state-dir", `Cannot open the journal ${place.databasePath}: another worker uses it.`, { hint, cause: error });
      } else {
        if (tries === 1) onWarning(`Another worker still has the journal ${place.databasePath} open; waiting for it.`);
        await pause(50, { signal });
      }
    }
  }
}

function tryOpen(place: JournalPlace): DatabaseSync {
  const database = new DatabaseSync(place.databasePath);
  try {
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA busy_timeout = 0;");
    database.exec(
      `PRAGMA journal_mode = ${place.journalMode}; PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA secure_delete = FAST; PRAGMA journal_size_limit = 16777216;`,
    );
    // The lock of EXCLUSIVE mode is taken by the first write and then kept.
    database.exec("BEGIN EXCLUSIVE; COMMIT;");
    const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
    if (version !== 0 && version !== schemaVersion && !isKnown(version)) throw new Error(`database disk image is malformed: version ${version}`);
    if (version !== 0 && statSync(place.databasePath).size <= checkUpToBytes) {
      const verdict = String(database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"]);
      if (verdict !== "ok") throw new Error(`database disk image is malformed: ${verdict}`);
    }
    // One transaction: a worker that dies in the middle leaves the journal as it was.
    database.exec(`BEGIN; ${version === 0 ? "" : stepsFrom(version)} ${schema} COMMIT;`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function isKnown(version: number): boolean {
  return version < schemaVersion && Object.hasOwn(steps, version);
}

function stepsFrom(version: number): string {
  return Object.keys(steps)
    .map(Number)
    .filter((from) => from >= version)
    .map((from) => steps[from])
    .join(" ");
}

/** By SQLite's own words: Deno leaves `errcode` undefined. */
function kindOf(error: unknown): "locked" | "broken" | "other" {
  const text = error instanceof Error ? error.message : "";
  if (/database (table )?is locked/.test(text)) return "locked";
  return /not a database|malformed|no such column|file is encrypted/.test(text) ? "broken" : "other";
}

function moveAside(path: string): string {
  const target = `${path}.damaged`;
  for (const suffix of ["", "-wal", "-shm", "-journal"]) {
    rmSync(target + suffix, { force: true });
    if (existsSync(path + suffix)) renameSync(path + suffix, target + suffix);
  }
  return target;
}

/** An engine inside the test's own process that keeps the contract: it spools an answer, obeys its signal, and does what the test says. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Attempt, AttemptResult, Engine, RunOptions } from "../../src/engines/engine.ts";
import { createFacts, type Facts } from "../doubles/facts.ts";

export interface ScriptedEngine extends Engine {
  readonly attempts: readonly Attempt[];
  readonly facts: Facts;
  isUp: boolean;
  tellsProgress?: boolean;
  settled: number;
  running: number;
  maxRunning: number;
  /** What the next attempts come to; by default they are done with `{"images":["…"],"echo":INPUT}`. */
  script: (attempt: Attempt, options: RunOptions) => Promise<AttemptResult> | AttemptResult | undefined;
}

export function createScriptedEngine(name = "scripted", slots = 1): ScriptedEngine {
  const attempts: Attempt[] = [];
  const facts = createFacts(() => `${attempts.length} attempts`);
  return {
    name,
    kind: "scripted",
    slots,
    attempts,
    facts,
    isUp: true,
    settled: 0,
    running: 0,
    maxRunning: 0,
    script: () => undefined,
    async isReady() {
      return this.isUp;
    },
    async run(attempt, options) {
      attempts.push(attempt);
      this.running += 1;
      this.maxRunning = Math.max(this.maxRunning, this.running);
      facts.changed();
      try {
        return (await this.script(attempt, options)) ?? doneWith(attempt, JSON.stringify({ images: ["aGk="], echo: attempt.input }));
      } finally {
        this.running -= 1;
        facts.changed();
      }
    },
    async settle() {
      this.settled += 1;
    },
    async close() {},
  };
}

export function doneWith(attempt: Attempt, text: string): AttemptResult {
  const path = join(attempt.dir, "answer.json");
  writeFileSync(path, text);
  const sha256 = createHash("sha256").update(text).digest("hex");
  const answer = { path, mime: "application/json", sizeBytes: Buffer.byteLength(text), sha256 };
  return { type: "done", output: { answer, images: [], warnings: [] }, engineMs: 1 };
}

/** Resolves with `cancelled` when the attempt is interrupted, as an engine that lets go at once. */
export function untilInterrupted(signal: AbortSignal): Promise<AttemptResult> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve({ type: "cancelled" });
    signal.addEventListener("abort", () => resolve({ type: "cancelled" }), { once: true });
  });
}

/**
 * What every kind of engine must do, whoever made it: the contract of src/engines/engine.ts as one suite. A kind brings a `Subject`; the
 * suites on doubles and on bundled engines are in engine.test.ts, those on real webuis and a real ComfyUI under test/live.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { AttemptResult, ConnectOptions, Engine, RunOptions } from "../../src/engines/engine.ts";
import { createAnswerReader } from "../../src/results/answer-reader.ts";
import { makeAttempt } from "../fixtures/sdapi-answer.ts";

type Input = Readonly<Record<string, unknown>>;

export interface Subject {
  readonly name: string;
  readonly skip?: false | string;
  start(): Promise<Started>;
  /** Ends soon, and well. */
  readonly quick: Input;
  /** Ends only when it is ended, or after minutes. */
  readonly long: Input;
  /** Tells its progress more than once. */
  readonly stepping: Input;
  /** Refused, each of them, by whoever sees it first. */
  readonly bad: readonly Input[];
}

export interface Started {
  /** A connection of its own to the one engine. */
  connect(options: ConnectOptions): Engine;
  /** The engine dies at once. Left out: it is somebody else's. */
  kill?(): Promise<unknown>;
  [Symbol.asyncDispose](): Promise<void>;
}

const limitMs = 240_000;
const never = new AbortController().signal;

export function engineConformance({ name, skip = false, start, quick, long, stepping, bad }: Subject): void {
  test(`an engine: ${name}`, { timeout: 2 * limitMs, skip }, async (t) => {
    await using started = await start();
    const open: Engine[] = [];
    const connect = (options: Partial<ConnectOptions> = {}): Engine => {
      const readAnswer: ConnectOptions["readAnswer"] = (attempt) => createAnswerReader(attempt, { blackImages: "warn" });
      const engine = started.connect({ timeoutMs: limitMs, retry: { tries: 2, backoffMs: 1 }, owner: "conformance", readAnswer, ...options });
      open.push(engine);
      return engine;
    };
    const engine = connect();

    await t.test("says that it is ready when it is", async () => {
      for (const signal = AbortSignal.timeout(limitMs); !(await engine.isReady({ signal }));) signal.throwIfAborted();
    });

    await t.test("runs a job: an answer on disk, as large and as hashed as it says", async () => {
      await using attempt = await makeAttempt(quick);
      const { output, engineMs } = done(await engine.run(attempt, { signal: never }));
      const bytes = readFileSync(output.answer.path);
      assert.deepEqual([bytes.length, createHash("sha256").update(bytes).digest("hex")], [output.answer.sizeBytes, output.answer.sha256]);
      assert.doesNotThrow(() => JSON.parse(bytes.toString("utf8")) as unknown);
      assert.ok(engineMs > 0);
    });

    await t.test("its progress never falls and stays within 0 and 1", async () => {
      const seen: number[] = [];
      await using attempt = await makeAttempt(stepping);
      done(await engine.run(attempt, { signal: never, onProgress: ({ fraction }) => void seen.push(fraction) }));
      assert.ok(seen.length > 1, "it tells nothing");
      assert.deepEqual(
        seen,
        seen.toSorted((a, b) => a - b),
      );
      assert.ok(seen.every((fraction) => fraction >= 0 && fraction <= 1));
    });

    await t.test("refuses bad input as a value that names the mistake and is not tried again", async () => {
      for (const input of bad) {
        await using attempt = await makeAttempt(input);
        const result = failed(await engine.run(attempt, { signal: never }));
        assert.equal(result.retryable, false, result.message);
        assert.match(result.message, /^Cannot .*\.$/s);
      }
      await succeeds(engine);
    });

    await t.test("runs nothing that was cancelled before", async () => {
      await using attempt = await makeAttempt(long);
      assert.equal((await engine.run(attempt, { signal: AbortSignal.abort() })).type, "cancelled");
    });

    await t.test("lets go of a cancelled job and takes the next one", async () => {
      await using attempt = await makeAttempt(long);
      const cancel = new AbortController();
      const { result, running } = begin(engine, attempt, { signal: cancel.signal });
      await running;
      cancel.abort();
      assert.deepEqual(await result, { type: "cancelled" });
      await succeeds(engine);
    });

    await t.test("ends a job that takes too long", async () => {
      await using attempt = await makeAttempt(long);
      const result = failed(await connect({ timeoutMs: 300 }).run(attempt, { signal: never }));
      assert.deepEqual([result.code, result.retryable, result.remedy], ["engine.timeout", false, undefined], result.message);
      await succeeds(engine);
    });

    await t.test("settles: what a former life of the worker left ends", async () => {
      await using attempt = await makeAttempt(long);
      const { result, running } = begin(connect(), attempt);
      await running;
      const later = connect();
      await later.settle({ signal: AbortSignal.timeout(limitMs) });
      await succeeds(later);
      await result;
    });

    await t.test("frees its memory and works on", async () => {
      await engine.freeMemory?.({ signal: AbortSignal.timeout(limitMs) });
      await succeeds(engine);
    });

    await t.test("a closed connection ends its jobs, and closing again does nothing", async () => {
      await using attempt = await makeAttempt(long);
      const closing = connect();
      const { result, running } = begin(closing, attempt);
      await running;
      await closing.close();
      assert.equal((await result).type, "cancelled");
      await closing.close();
      await engine.settle({ signal: AbortSignal.timeout(limitMs) });
      await succeeds(engine);
    });

    const { kill } = started;
    await t.test("an engine that dies in mid-job is lost: another one may run the job", { skip: kill ? false : "not ours to kill" }, async () => {
      await using attempt = await makeAttempt(long);
      const { result, running } = begin(engine, attempt);
      await running;
      await kill?.();
      const { code, retryable } = failed(await result);
      assert.deepEqual([code, retryable], ["engine.lost", true]);
    });

    await t.test("a dead one is not ready, and not reached", { skip: kill ? false : "not ours to kill" }, async () => {
      assert.equal(await engine.isReady({ signal: AbortSignal.timeout(limitMs) }), false);
      await using attempt = await makeAttempt(quick);
      const { code, retryable } = failed(await engine.run(attempt, { signal: never }));
      assert.deepEqual([code, retryable], ["engine.unreachable", true]);
    });

    await Promise.all(open.map((one) => one.close()));
  });

  async function succeeds(engine: Engine): Promise<void> {
    await using attempt = await makeAttempt(quick);
    done(await engine.run(attempt, { signal: never }));
  }
}

/** `running`: it has begun, by its own word; or ended. */
function begin(engine: Engine, attempt: Parameters<Engine["run"]>[0], options: Partial<RunOptions> = {}) {
  const { promise: running, resolve } = Promise.withResolvers<void>();
  const sign = () => resolve();
  const result = engine.run(attempt, { signal: never, onProgress: sign, onActivity: sign, ...options });
  void result.finally(sign);
  return { result, running };
}

function done(result: AttemptResult): Extract<AttemptResult, { type: "done" }> {
  assert.equal(result.type, "done", JSON.stringify(result));
  return result as Extract<AttemptResult, { type: "done" }>;
}

function failed(result: AttemptResult): Extract<AttemptResult, { type: "failed" }> {
  assert.equal(result.type, "failed", JSON.stringify(result));
  return result as Extract<AttemptResult, { type: "failed" }>;
}

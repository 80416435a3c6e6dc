import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { seededRandom } from "../fixtures/seeded-random.ts";
import { createScriptedEngine } from "../jobs/scripted-engine.ts";
import { httpConfig, startRig } from "../jobs/worker-rig.ts";
import { type FuzzCase, fuzzCase } from "./fuzz-cases.ts";
import { ask } from "./http-rig.ts";

const cases = 10_000;
const atOnce = 32;
/** Far more than any of these may take; only a hang comes here. */
const hangMs = 20_000;

/** The status, 0 when the server closed without one, -1 when nothing came. */
function throwAt(port: number, { bytes, leaves }: FuzzCase): Promise<number> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let said = "";
    const statusOf = () => Number(/^(?:HTTP\/1\.1 100[^]*?\r\n\r\n)?HTTP\/1\.1 (\d+)/.exec(said)?.[1] ?? 0);
    const end = (status: number) => {
      clearTimeout(limit);
      clearTimeout(quiet);
      socket.destroy();
      resolve(status);
    };
    // Some promise a longer body than they send; what the server waits for is then never coming.
    const quiet = setTimeout(() => socket.end(), 250);
    const limit = setTimeout(() => end(-1), hangMs);
    socket.setEncoding("latin1").on("data", (part: string) => (said += said.length < 1000 ? part : ""));
    socket.on("error", () => end(statusOf()));
    for (const over of ["end", "close"]) socket.once(over, () => end(statusOf()));
    socket.once("connect", () => {
      socket.write(bytes);
      if (leaves) setImmediate(() => end(0));
    });
  });
}

for (const seed of [1, 2]) {
  test(`${cases / 2} requests of seed ${seed}, good, nearly good and nonsense: no crash, no hang, no 500`, { timeout: 120_000 }, async () => {
    const engine = createScriptedEngine("scripted", 8);
    const config = { ...httpConfig(), concurrency: 8, maxQueue: 1_000_000, maxBody: 100_000, webhook: { ...httpConfig().webhook, allowPrivate: false } };
    await using rig = await startRig(engine, { sources: { http: config } });
    const url = await rig.untilListening();
    const port = Number(new URL(url).port);
    const random = seededRandom(seed);
    const statuses = new Map<number, number>();
    let left = cases / 2;
    const worker = async () => {
      while (left-- > 0) {
        const one = fuzzCase(random);
        const status = await throwAt(port, one);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        const isGood = status !== -1 && status !== 500;
        assert.ok(isGood, `${status} for ${one.bytes.toString("latin1").slice(0, 2000)}`);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    for (const expected of [200, 400, 403, 404, 405, 422]) assert.ok((statuses.get(expected) ?? 0) > 0, `${expected} in ${JSON.stringify([...statuses])}`);
    assert.equal((await ask(`${url}/runsync`, { input: { after: "all" } })).json["status"], "COMPLETED");
    const { jobs } = (await ask(`${url}/health`)).json as { jobs: { inProgress: number } };
    assert.ok(jobs.inProgress <= 8);
  });
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventBus } from "../../src/events/bus.ts";
import type { Ending, FettleEvent, StampedEvent } from "../../src/events/event.ts";
import { createPhaseWatch } from "../../src/phases/watch.ts";
import { planOf } from "../plan/plan-of.ts";

const command = ["/bin/true"];
const services = {
  prepare: { phase: "one", task: true, command },
  proxy: { phase: "two", command },
  engine: { phase: "two", command, readiness: { tcp: { port: 1 }, startup: "30s" } },
  shell: { phase: "two", onFailure: "warn", command },
  page: { phase: "three", command },
  fetch: { phase: "three", command, task: true, background: true },
};
const phases = { one: { target: "8s" }, two: { target: "15s" }, three: { target: "5s", onFailure: "warn" } };

interface Story {
  tell(...events: FettleEvent[]): Promise<void>;
  /** What the watch said: "one completed", "two warned shell: …". */
  readonly said: string[];
  readonly verdict: Promise<{ reason: string; exitCode: number }>;
}

function watching(config: object = { phases, services }, usualMs?: Map<string, number>): Story {
  const { plan } = planOf(config);
  const bus = new EventBus();
  const said: string[] = [];
  const watch = createPhaseWatch(plan, { emit: (event) => void bus.emit(event), ...(usualMs && { usualMs }) });
  bus.observe(watch.apply);
  bus.observe((event) => said.push(...describe(event)));
  return {
    said,
    verdict: watch.failure,
    async tell(...events) {
      for (const event of events) bus.emit(event);
      await Promise.resolve();
    },
  };
}

function describe(event: StampedEvent): string[] {
  if (event.type === "boot.completed")
    return [`boot completed${event.targetMs === undefined ? "" : ` of ${event.targetMs}`}${event.failed.map((one) => ` without ${one}`).join("")}`];
  if (!("phase" in event)) return [];
  const word = event.type.replace("phase.", "");
  if (event.type === "phase.warned") return [`${event.phase} ${word} ${event.member} ${event.reason}`];
  if (event.type === "phase.failed") return [`${event.phase} ${word} ${event.reason}`];
  return [`${event.phase} ${word}${event.type === "phase.completed" && event.usualMs !== undefined ? ` usually ${event.usualMs}` : ""}`];
}

const begun: FettleEvent = { type: "supervisor.started", profile: "test", version: "0", processStartedMs: 0 };
const ready = (service: string): FettleEvent => ({ type: "service.ready", service, afterMs: 1 });
const spawned = (service: string): FettleEvent => ({ type: "service.spawned", service, pid: 1, restarts: 0 });
const exited = (service: string, ending: Ending, lastLines: string[] = []): FettleEvent => ({
  type: "service.exited",
  service,
  ending,
  wanted: false,
  lastLines,
});
const code = (number: number): Ending => ({ code: number, signal: null });

test("a phase ends when each member is fine, a background task as soon as it runs; then the next begins", async () => {
  const { tell, said } = watching(undefined, new Map([["two", 1200]]));
  await tell(begun);
  assert.deepEqual(said, ["one started"]);
  await tell(exited("prepare", code(0)));
  await tell(ready("proxy"), ready("shell"));
  assert.deepEqual(said.slice(1), ["one completed", "two started"]);
  await tell(ready("engine"));
  await tell(spawned("fetch"), ready("page"));
  assert.deepEqual(said.slice(3), ["two completed usually 1200", "three started", "three completed", "boot completed of 28000"]);
});

test("an optional member's first failure is a warning and settles it, whatever comes of its restarts", async () => {
  const { tell, said } = watching();
  await tell(begun, exited("prepare", code(0)));
  await tell(ready("proxy"), ready("engine"), exited("shell", code(255), ["no keys"]));
  await tell(ready("shell"));
  await tell({ type: "service.failed", service: "page", reason: "the program does not exist" }, spawned("fetch"));
  assert.deepEqual(said.slice(3), [
    "two warned shell ended with code 255: no keys",
    "two completed",
    "three started",
    "three warned page could not start: the program does not exist",
    "three completed",
    "boot completed of 28000 without shell without page",
  ]);
});

test("a member that must not fail is given its restarts; given up, it ends the boot with 1", async () => {
  const { tell, said, verdict } = watching();
  await tell(begun, exited("prepare", code(0)));
  await tell(exited("proxy", code(1), ["bind() failed"]), { type: "service.backing-off", service: "proxy", delayMs: 1, restarts: 1 });
  assert.deepEqual(said.slice(3), []);
  await tell(exited("proxy", code(1), ["bind() failed"]), { type: "service.given-up", service: "proxy", reason: "ended with code 1" });
  assert.deepEqual(said.slice(3), ["two failed proxy ended with code 1: bind() failed"]);
  assert.deepEqual(await verdict, { reason: "phase 2 failed", exitCode: 1 });
  await tell(ready("engine"), ready("shell"));
  assert.equal(said.length, 4, "nothing is said any more");
});

test("a member that was ready and died before its phase ended counts again", async () => {
  const { tell, said } = watching();
  await tell(begun, exited("prepare", code(0)));
  await tell(ready("proxy"), exited("proxy", { code: null, signal: "SIGSEGV" }), ready("engine"), ready("shell"));
  assert.deepEqual(said.slice(3), []);
  await tell(ready("proxy"));
  assert.deepEqual(said.slice(3), ["two completed", "three started"]);
});

test("not ready in time is the end, without waiting for restarts; a stop under way is no failure", async () => {
  const late = watching();
  await late.tell(begun, exited("prepare", code(0)));
  await late.tell({ type: "service.failed", service: "engine", reason: "it was not ready after 30 s: refused" });
  assert.deepEqual(late.said.slice(3), ["two failed engine could not start: it was not ready after 30 s: refused"]);
  const stopped = watching();
  await stopped.tell(begun, { type: "supervisor.stopping", reason: "received SIGTERM", budgetMs: 1 });
  await stopped.tell(exited("prepare", code(1)), { type: "service.given-up", service: "prepare", reason: "x" });
  assert.deepEqual(stopped.said, ["one started"]);
});

test("phases that name no former phase begin at once; an empty one is done at once", async () => {
  const { tell, said } = watching({
    phases: { one: {}, two: { after: [] }, none: { after: ["one"] }, last: { after: ["two", "none"] } },
    services: { a: { phase: "one", command }, b: { phase: "two", command }, c: { phase: "last", command } },
  });
  await tell(begun);
  assert.deepEqual(said, ["one started", "two started"]);
  await tell(ready("b"));
  await tell(ready("a"));
  assert.deepEqual(said.slice(2), ["two completed", "one completed", "none started", "none completed", "last started"]);
  await tell(ready("c"));
  assert.deepEqual(said.slice(7), ["last completed", "boot completed"]);
});

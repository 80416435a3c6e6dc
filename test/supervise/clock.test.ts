import assert from "node:assert/strict";
import { globSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import type { StampedEvent } from "../../src/events/event.ts";
import { createRig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

const [library] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");

test(
  "the wall clock steps a day back and a day forth: restarts, back-off and stop do not notice",
  library === undefined ? { skip: "SKIPPED: libfaketime is not installed (apt-get install faketime)" } : {},
  async () => {
    await using rig = await createRig();
    const shift = join(rig.dir, "files/shift");
    const setClock = (offset: string) => writeFileSync(shift, offset);
    setClock("+0d");
    const prefix = ["env", `LD_PRELOAD=${library}`, `FAKETIME_TIMESTAMP_FILE=${shift}`, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    const restart = { ...rig.service("x").restart, firstMs: 300, factor: 1, maxMs: 300, maxRestarts: 10 };
    const liveness = { type: "exec" as const, argv: ["/bin/true"], periodMs: 20, timeoutMs: 2000, failures: 1 };
    await using supervisor = spawnSupervisor(rig, rig.plan([rig.service("a", { restart, liveness, env: { LD_PRELOAD: null } })]), { prefix });
    await rig.started("a");
    const events: StampedEvent[] = [];
    const reading = (async () => {
      for await (const event of connectControl(join(rig.dir, "run/control.sock")).events(0)) {
        events.push(event);
        rig.changed();
      }
    })().catch(() => undefined);
    const exits = () => events.filter(({ type }) => type === "service.exited");
    for (const [nth, offset] of [
      [1, "-1d"],
      [2, "+1d"],
      [3, "-2d"],
    ] as const) {
      const child = await rig.started("a", nth);
      setClock(offset);
      await child.order({ die: "SIGKILL" });
      await rig.until(`exit ${nth}`, () => exits()[nth - 1]);
      // The clock moves again in the middle of the back-off.
      setClock("+0d");
      await rig.started("a", nth + 1);
    }
    setClock("-1d");
    process.kill(supervisor.pid, "SIGTERM");
    assert.deepEqual(await supervisor.ended, { code: 0, signal: null });
    await reading;
    const days = exits().map(({ time }) => Math.round((Date.parse(time) - Date.now()) / 86_400_000));
    assert.deepEqual(days.slice(0, 3), [-1, 1, -2], "the clock did not move: nothing was tested");
    assert.ok(
      events.every(({ atMs }, index) => index === 0 || atMs >= (events[index - 1]?.atMs ?? 0)),
      "the stamps of events go back",
    );
    const backoffs = events.filter((event) => event.type === "service.backing-off");
    for (const { delayMs } of backoffs) assert.ok(delayMs === 0 || (delayMs >= 240 && delayMs <= 300), `back-off ${delayMs}`);
    assert.ok(!events.some(({ type }) => type === "service.crash-looping" || type === "service.failed"));
  },
);

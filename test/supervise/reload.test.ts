import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { connectControl } from "../../src/control/client.ts";
import type { StampedEvent } from "../../src/events/event.ts";
import { comparePlans } from "../../src/supervise/compare-plans.ts";
import { createRig, program, type Rig } from "./rig.ts";
import { spawnSupervisor } from "./spawned.ts";

type Services = Record<string, object>;

/** The real `fettle start` on a file that the test writes anew. */
function startOn(rig: Rig, services: Services) {
  const file = join(rig.dir, "fettle.yaml");
  const write = (content: unknown) => writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  const folders = { stateDir: join(rig.dir, "state"), logDir: join(rig.dir, "log"), runtimeDir: join(rig.dir, "run") };
  const config = (now: Services) => ({ version: 1, ...folders, health: { enabled: false }, services: now });
  write(config(services));
  const argv = program(join(import.meta.dirname, "../../src/main.ts"), "start", "--config", file);
  const supervisor = spawnSupervisor(rig, rig.plan([]), { argv });
  const events: StampedEvent[] = [];
  let listening: Promise<void> | undefined;
  const listen = async () => {
    for await (const event of connectControl(join(folders.runtimeDir, "control.sock")).events(0)) {
      events.push(event);
      rig.changed();
    }
  };
  return {
    supervisor,
    write,
    config,
    /** Writes the file and says so to fettle; resolves with the nth answer. */
    async reload(content: unknown, type: "supervisor.reloaded" | "supervisor.reload-failed", nth = 1) {
      listening ??= listen().catch(() => undefined);
      write(content);
      process.kill(supervisor.pid, "SIGHUP");
      return await rig.until(`answer ${nth} to SIGHUP`, () => events.filter((event) => event.type === type)[nth - 1]);
    },
  };
}

const declared = (rig: Rig, name: string, more: { env?: object; [key: string]: unknown } = {}) => {
  const { argv, env } = rig.service(name);
  return { command: argv, ...more, env: { ...env, ...more.env } };
};

test("SIGHUP restarts what changed, starts what is new, ends what is gone, and leaves the rest its process", async () => {
  await using rig = await createRig();
  const same = declared(rig, "same");
  const fettle = startOn(rig, { same, changed: declared(rig, "changed", { env: { RIG_VALUE: "one" } }), gone: declared(rig, "gone") });
  await using _ = fettle.supervisor;
  const before = await Promise.all(["same", "changed", "gone"].map((name) => rig.started(name)));
  const now = {
    same: { ...same, stop: { grace: "3s" } },
    changed: declared(rig, "changed", { env: { RIG_VALUE: "two" }, dependsOn: { fresh: "ready" } }),
    fresh: declared(rig, "fresh"),
  };
  const answer = await fettle.reload(fettle.config(now), "supervisor.reloaded");
  const { added, removed, changed } = answer as Extract<StampedEvent, { type: "supervisor.reloaded" }>;
  assert.deepEqual({ added, removed, changed }, { added: ["fresh"], removed: ["gone"], changed: [{ service: "changed", keys: ["env.RIG_VALUE"] }] });
  const again = await rig.started("changed", 2);
  assert.equal(again.env["RIG_VALUE"], "two");
  assert.ok(rig.story.indexOf("fresh up") < rig.story.lastIndexOf("changed up"));
  await rig.until("the end of the one that is gone", () => before[2]?.isGone || undefined);
  assert.deepEqual(before[0]?.signals, []);
  const { services } = await connectControl(join(rig.dir, "run/control.sock")).snapshot();
  assert.deepEqual(services.map(({ name, pid }) => [name, pid === before[0]?.pid]).toSorted(), [
    ["changed", false],
    ["fresh", false],
    ["same", true],
  ]);
  await fettle.reload(fettle.config(now), "supervisor.reloaded", 2);
  process.kill(fettle.supervisor.pid, "SIGTERM");
  assert.deepEqual(await fettle.supervisor.ended, { code: 0, signal: null });
  assert.deepEqual(rig.callers.map(({ name }) => name).toSorted(), ["changed", "changed", "fresh", "gone", "same"]);
});

test("a configuration that is not valid changes nothing; replacing the only service does not end fettle", async () => {
  await using rig = await createRig();
  const fettle = startOn(rig, { only: declared(rig, "only", { essential: true }) });
  await using _ = fettle.supervisor;
  const only = await rig.started("only");
  const failed = await fettle.reload("version: 1\nservces: {}\n", "supervisor.reload-failed");
  assert.match((failed as Extract<StampedEvent, { type: "supervisor.reload-failed" }>).message, /unknown key "servces"/);
  assert.deepEqual(only.signals, []);
  await fettle.reload(fettle.config({ other: declared(rig, "other") }), "supervisor.reloaded");
  await rig.started("other");
  await rig.until("the end of the former", () => only.isGone || undefined);
  process.kill(fettle.supervisor.pid, "SIGTERM");
  assert.deepEqual(await fettle.supervisor.ended, { code: 0, signal: null });
});

test("what a running child does not notice needs no restart; differences are named without values", async () => {
  await using rig = await createRig();
  const a = rig.service("a", { env: { KEY: "secret" } });
  const before = rig.plan([a, rig.service("b")]);
  const live = { ...a, essential: true, stop: { signal: "SIGINT" as const, graceMs: 1 }, dependsOn: [{ service: "b", condition: "ready" as const }] };
  assert.deepEqual(comparePlans(before, rig.plan([live, rig.service("b")])), { added: [], removed: [], changed: [] });
  const other = { ...a, argv: ["/bin/true"], env: { ...a.env, KEY: "other" } };
  assert.deepEqual(comparePlans(before, rig.plan([other])), { added: [], removed: ["b"], changed: [{ service: "a", keys: ["argv", "env.KEY"] }] });
});

/** SIGHUP around a boot in phases: what is done is never repeated, and no boot hangs or fails because of it. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Program } from "../commands/program.ts";
import { createPod, type Pod, standIn } from "./pod.ts";

const patient = { timeout: 60_000 };
const booted = /Startup completed in .*\n/;
const count = (text: string, pattern: RegExp): number => [...text.matchAll(new RegExp(pattern, "g"))].length;
const phaseLines = (fettle: Program): string[] => [...fettle.said().matchAll(/^\[\w+\] (Phase \d completed|Startup completed)/gm)].map(([, line = ""]) => line);
const wholeBoot = ["Phase 1 completed", "Phase 2 completed", "Phase 3 completed", "Phase 4 completed", "Startup completed"];

/** ComfyUI starts to listen once the test opens the gate; both hooks leave a mark. */
function gated(pod: Pod) {
  const gate = join(pod.dir, "gate");
  const hooks = join(pod.dir, "hooks");
  writeFileSync(join(pod.dir, "pre_start.sh"), `echo pre >> ${hooks}\n`);
  writeFileSync(join(pod.dir, "post_start.sh"), `echo post >> ${hooks}\n`);
  const command = [
    "/bin/sh",
    "-c",
    `echo waiting; while [ ! -e ${gate} ]; do sleep 0.02; done; exec "$0" "$@"`,
    ...standIn("comfyui", "--port", `${pod.comfyuiPort}`),
  ];
  return { comfyui: { command }, open: () => writeFileSync(gate, ""), hooks: () => readFileSync(hooks, "utf8") };
}

test("while phase 2 runs: a member is changed, one of phase 3 added, another removed; each phase is done once", patient, async () => {
  await using pod = await createPod();
  const { comfyui, open, hooks } = gated(pod);
  const fettle = pod.start({ config: { services: { comfyui } } });
  await fettle.untilSaid(/comfyui \| waiting/);
  await fettle.untilSaid(/nginx is ready/);
  const services = {
    comfyui,
    nginx: { env: { CHANGED: "yes" } },
    "code-server": null,
    fresh: { phase: "dashboards", command: standIn("fresh", "--show", "NAME"), env: { NAME: "fresh" } },
  };
  pod.reload(fettle, { services });
  await fettle.untilSaid(/what changed:[^]*~ nginx: env\.CHANGED/);
  await fettle.untilSaid(/nginx is ready[^]*nginx is ready/);
  open();
  await fettle.untilSaid(booted);
  assert.deepEqual(phaseLines(fettle), wholeBoot);
  await fettle.untilSaid(/fresh \| NAME=fresh/);
  assert.doesNotMatch(fettle.said(), /code-server is ready/);
  await fettle.untilSaid(/post-start ended with code 0/);
  assert.equal(hooks(), "pre\npost\n");
  assert.equal(count(fettle.said(), /setup ended with code 0/), 1);
  assert.equal(await fettle.stop(), 0);
});

test("what a phase waits for in vain is removed: the boot goes on, and its deadline is forgotten", patient, async () => {
  await using pod = await createPod();
  const stuck = { phase: "services", command: standIn("stuck"), readiness: { file: join(pod.dir, "never"), startup: "3s" } };
  const fettle = pod.start({ config: { services: { stuck } } });
  await fettle.untilSaid(/comfyui is ready/);
  // Ends later than the deadline that the other had.
  pod.reload(fettle, { services: { clock: { task: true, command: ["sleep", "3.8"] } } });
  await fettle.untilSaid(booted);
  assert.deepEqual(phaseLines(fettle), wholeBoot);
  await fettle.untilSaid(/clock ended with code 0/);
  assert.equal(await fettle.stop(), 0);
});

test("a dependency that a reload restarts during the boot is no failed one", patient, async () => {
  await using pod = await createPod();
  const { comfyui, open } = gated(pod);
  const after = { phase: "services", command: standIn("after"), dependsOn: { comfyui: "ready" } };
  const fettle = pod.start({ config: { services: { comfyui, after } } });
  await fettle.untilSaid(/comfyui \| waiting/);
  pod.reload(fettle, { services: { comfyui: { ...comfyui, env: { CHANGED: "yes" } }, after } });
  await fettle.untilSaid(/comfyui \| waiting[^]*comfyui \| waiting/);
  open();
  await fettle.untilSaid(booted);
  assert.doesNotMatch(fettle.said(), /Cannot start after/);
  assert.deepEqual(phaseLines(fettle), wholeBoot);
  assert.equal(await fettle.stop(), 0);
});

test("after the boot: a member changed, one added to phase 1, one removed; no task and no hook runs again", patient, async () => {
  await using pod = await createPod();
  const { comfyui, open, hooks } = gated(pod);
  open();
  const fettle = pod.start({ config: { services: { comfyui } } });
  await fettle.untilSaid(/post-start ended with code 0/);
  const services = {
    comfyui,
    jupyterlab: { env: { CHANGED: "yes" } },
    "code-server": null,
    setup: { env: { CHANGED: "yes" } },
    verification: { env: { CHANGED: "yes" } },
    early: { phase: "volume", command: standIn("early", "--show", "NAME"), env: { NAME: "early" } },
  };
  pod.reload(fettle, { services, hooks: { postStart: { timeout: "9s" }, preStart: { timeout: "9s" } } });
  await fettle.untilSaid(/early is ready/);
  await fettle.untilSaid(/jupyterlab is ready[^]*jupyterlab is ready/);
  for (const name of ["setup", "verification", "pre-start", "post-start"])
    assert.match(fettle.said(), new RegExp(`${name} changed, but its part of the boot is done and is not repeated`));
  assert.equal(count(fettle.said(), /comfyui is ready/), 1);
  assert.equal(count(fettle.said(), /setup ended with code/), 1);
  assert.equal(count(fettle.said(), /verification ended with code/), 1);
  assert.deepEqual(phaseLines(fettle), wholeBoot);
  assert.equal(hooks(), "pre\npost\n");
  // Asked for by name it is done again.
  assert.equal(await pod.run(["service", "restart", "setup"]).ended, 0);
  await fettle.untilSaid(/setup ended with code 0[^]*setup ended with code 0/);
  assert.equal(await fettle.stop(), 0);
});

test("a hook's script that appears after the start waits for the next one", patient, async () => {
  await using pod = await createPod();
  const fettle = pod.start();
  await fettle.untilSaid(booted);
  const mark = join(pod.dir, "mark");
  for (const name of ["pre_start.sh", "post_start.sh"]) writeFileSync(join(pod.dir, name), `echo ${name} >> ${mark}\n`);
  pod.reload(fettle, { services: { fresh: { phase: "dashboards", command: standIn("fresh") } } });
  await fettle.untilSaid(/fresh is ready/);
  assert.throws(() => readFileSync(mark));
  assert.equal(await fettle.stop(), 0);
  const again = pod.start();
  await again.untilSaid(/post-start ended with code 0/);
  assert.equal(readFileSync(mark, "utf8"), "pre_start.sh\npost_start.sh\n");
  assert.equal(await again.stop(), 0);
});

test("SIGHUP again and again through a whole boot, with a change each time: it ends as ever", patient, async () => {
  await using pod = await createPod();
  const { comfyui, open, hooks } = gated(pod);
  const fettle = pod.start({ config: { services: { comfyui } } });
  await fettle.untilSaid(/Phase 1/);
  for (let turn = 1; turn < 30 && !booted.test(fettle.said()); turn++) {
    const env = { [`TURN_${turn}`]: "x" };
    pod.reload(fettle, { services: { comfyui, nginx: { env }, jupyterlab: { env } } });
    await fettle.untilSaid(new RegExp(`~ nginx: .*TURN_${turn}\\b|Startup completed`));
    if (turn === 6) open();
  }
  await fettle.untilSaid(booted);
  assert.deepEqual(phaseLines(fettle), wholeBoot);
  assert.equal(count(fettle.said(), /setup ended with code 0/), 1);
  await fettle.untilSaid(/post-start ended with code 0/);
  assert.equal(hooks(), "pre\npost\n");
  assert.equal(await fettle.stop(), 0);
});

import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { createPod, standIn } from "./pod.ts";

const patient = { timeout: 60_000 };
const booted = /Startup completed in .*\n/;
const again = { restart: { first: "10ms", max: "10ms", maxRestarts: 1 } };
/** The phases' lines without their times, in the order they were said. */
const phaseLines = (said: string): string[] =>
  said
    .split("\n")
    .filter((line) => /^\[\w+\] (Phase \d|Startup)/.test(line))
    .map((line) => line.replace(/\d+\.\d{3}s/g, "Xs"));

test("four phases in the seed's words and order; logs, PID files, links and paths as the seed names them; gone on SIGTERM", patient, async () => {
  await using pod = await createPod();
  const fettle = pod.start({ env: { PUBLIC_KEY: "ssh-ed25519 AAAA me@home", PRESET_DOWNLOAD: "WAN_22", ACCESS_PASSWORD: "very-secret-word" } });
  await fettle.untilSaid(booted);
  assert.deepEqual(phaseLines(fettle.said()), [
    "[INFO] Phase 1: Volume & Config Setup (target: 8s)",
    "[SUCCESS] Phase 1 completed in Xs (target: 8s)",
    "[INFO] Phase 2: Service Startup (target: 15s)",
    "[SUCCESS] Phase 2 completed in Xs (target: 15s)",
    "[INFO] Phase 3: Dashboard Startup (target: 5s)",
    "[SUCCESS] Phase 3 completed in Xs (target: 5s)",
    "[INFO] Phase 4: Health Verification (target: 2s)",
    "[SUCCESS] Phase 4 completed in Xs (target: 2s)",
    "[SUCCESS] Startup completed in Xs (target: 30s)",
  ]);
  const logs = readdirSync(join(pod.workspace, "logs"));
  for (const name of ["comfyui", "preset_manager", "preset_downloads", "code-server", "jupyterlab", "nginx", "ssh"]) {
    assert.ok(process.kill(Number(pod.read(`logs/${name}.pid`)), 0), `${name}.pid names a living process`);
  }
  for (const name of ["setup", "nginx", "ssh", "comfyui", "preset_manager", "code-server", "jupyterlab"]) assert.ok(logs.includes(`${name}.log`), name);
  for (const name of ["models", "input", "output"]) assert.equal(readlinkSync(join(pod.app, "comfyui", name)), join(pod.workspace, name));
  const paths = parse(readFileSync(join(pod.app, "comfyui/extra_model_paths.yaml"), "utf8")) as Record<string, Record<string, unknown>>;
  assert.deepEqual([paths["volume"]?.["base_path"], paths["volume"]?.["is_default"]], [pod.workspace, true]);
  assert.equal(paths["volume"]?.["text_encoders"], "models/text_encoders/\nmodels/clip/\n");
  const folders = Object.values(paths).flatMap((group) =>
    Object.entries(group).flatMap(([type, text]) => (/^(base_path|is_default)$/.test(type) ? [] : String(text).trim().split("\n"))),
  );
  assert.ok(folders.length > 25);
  for (const folder of folders) assert.ok(statSync(join(pod.workspace, folder)).isDirectory(), folder);
  assert.match(readFileSync(join(pod.dir, "ssh/authorized_keys"), "utf8"), /^ssh-ed25519 AAAA me@home$/m);
  assert.equal(statSync(join(pod.dir, "ssh/authorized_keys")).mode & 0o777, 0o600);

  const metrics = await (await fetch(`${pod.healthUrl}/metrics`)).text();
  assert.match(metrics, /^fettle_phase_seconds\{phase="services"\} \d/m);
  assert.match(metrics, /^fettle_phase_target_seconds\{phase="volume"\} 8$/m);
  assert.match(metrics, /^fettle_service_ready_seconds\{service="comfyui",role="engine"\} \d/m);
  await fettle.untilSaid(/comfyui ready .*listening at/);
  assert.equal(await fettle.stop(), 0);
  assert.deepEqual(
    readdirSync(join(pod.workspace, "logs")).filter((name) => name.endsWith(".pid")),
    [],
  );
  assert.ok(readdirSync(join(pod.workspace, "logs")).includes("preset_downloads.log"));
  assert.doesNotMatch(fettle.said(), /very-secret-word/);
  const timeline = JSON.parse(pod.read("logs/timeline.json")) as {
    phases: { name: string; state: string; tookMs: number; targetMs: number }[];
    stages: unknown[];
  };
  assert.deepEqual(
    timeline.phases.map(({ name, state, targetMs }) => [name, state, targetMs]),
    [
      ["volume", "completed", 8000],
      ["services", "completed", 15_000],
      ["dashboards", "completed", 5000],
      ["verification", "completed", 2000],
    ],
  );
});

test("a second boot on the same volume changes nothing there, and shows what the first took", patient, async () => {
  await using pod = await createPod();
  const first = pod.start();
  await first.untilSaid(booted);
  assert.equal(await first.stop(), 0);
  writeFileSync(join(pod.workspace, "models/checkpoints/mine.safetensors"), "mine");
  const before = lstatSync(join(pod.app, "comfyui/models")).ino;
  const second = pod.start();
  await second.untilSaid(/phase 4 verification .*usually .* here/);
  assert.equal(await second.stop(), 0);
  assert.doesNotMatch(second.said(), /setup \| (made|linked|wrote|moved)/);
  assert.equal(lstatSync(join(pod.app, "comfyui/models")).ino, before);
  assert.equal(readFileSync(join(pod.app, "comfyui/models/checkpoints/mine.safetensors"), "utf8"), "mine");
});

test("ENABLE_ variables and the absence of PUBLIC_KEY leave services out; the checks skip them", patient, async () => {
  await using pod = await createPod();
  const off = { ENABLE_PRESET_MANAGER: "false", ENABLE_CODE_SERVER: "false", ENABLE_JUPYTERLAB: "false", PUBLIC_KEY: "" };
  const fettle = pod.start({ env: off });
  await fettle.untilSaid(booted);
  assert.match(fettle.said(), /\[SUCCESS\] Phase 3 completed in 0\.000s \(target: 5s\)/);
  assert.match(fettle.said(), /skipped: Preset Manager runs \(it is not enabled\)/);
  assert.equal(await fettle.stop(), 0);
  assert.deepEqual(readdirSync(join(pod.workspace, "logs")).sort(), ["comfyui.log", "nginx.log", "setup.log", "timeline.json"]);
});

const critical: readonly [what: string, options: Parameters<Awaited<ReturnType<typeof createPod>>["start"]>[0], line: RegExp][] = [
  [
    "the workspace is missing",
    { env: { WORKSPACE_DIR: "/proc/no-such-workspace" } },
    /\[ERROR\] Phase 1 failed after .*: setup ended with code 1: Cannot use .*: it does not exist/,
  ],
  ["ComfyUI's folder is missing", { env: { APP_DIR: "/proc/no-such-app" } }, /\[ERROR\] Phase 1 failed after .*Cannot link .*comfyui does not exist/],
  [
    "nginx does not start",
    { config: { services: { nginx: { command: standIn("nginx", "--exit", "1"), ...again } } } },
    /\[ERROR\] Phase 2 failed after .*: nginx ended with code 1: nginx cannot go on/,
  ],
  [
    "nginx is not installed",
    { config: { services: { nginx: { command: ["/no/nginx"] } } } },
    /\[ERROR\] Phase 2 failed after .*: nginx could not start: the program \/no\/nginx does not exist/,
  ],
  [
    "ComfyUI is never healthy",
    { env: { COMFYUI_STARTUP: "600ms" }, config: { services: { comfyui: { command: standIn("comfyui") } } } },
    /\[ERROR\] Phase 2 failed after .*: comfyui could not start: it was not ready after 0.6 s/,
  ],
  [
    "ComfyUI crashes",
    { config: { services: { comfyui: { command: standIn("comfyui", "--exit", "9"), ...again } } } },
    /\[ERROR\] Phase 2 failed after .*: comfyui ended with code 9: comfyui cannot go on/,
  ],
];
for (const [what, options, line] of critical) {
  test(`exit 1 in phases 1 and 2: ${what}`, patient, async () => {
    await using pod = await createPod();
    const fettle = pod.start(options);
    assert.equal(await fettle.ended, 1);
    assert.match(fettle.said(), line);
    assert.match(fettle.said(), /Stopped after .*, exit code 1/);
    assert.doesNotMatch(fettle.said(), /Phase 3|jupyterlab/);
    const logs = join(pod.workspace, "logs");
    assert.deepEqual(existsSync(logs) ? readdirSync(logs).filter((name) => name.endsWith(".pid")) : [], []);
  });
}

test("sshd, dashboards and checks only warn; the pod is up and healthy without them", patient, async () => {
  await using pod = await createPod();
  const services = {
    ssh: { command: standIn("ssh", "--exit", "255"), restart: { policy: "never" } },
    "code-server": { command: ["/no/code-server"] },
    "preset-manager": { command: standIn("preset-manager", "--exit", "3"), ...again },
  };
  const fettle = pod.start({ config: { services }, env: { PUBLIC_KEY: "ssh-ed25519 AAAA me" } });
  await fettle.untilSaid(booted);
  const lines = phaseLines(fettle.said());
  for (const line of [
    "[WARNING] Phase 2: ssh ended with code 255: ssh cannot go on",
    "[WARNING] Phase 2 completed in Xs (target: 15s) without ssh",
    "[WARNING] Phase 3: code-server could not start: the program /no/code-server does not exist",
    "[WARNING] Phase 3: preset-manager ended with code 3: preset-manager cannot go on",
    "[WARNING] Phase 3 completed in Xs (target: 5s) without preset-manager, code-server",
    "[WARNING] Phase 4: verification ended with code 1: 1 of 4 failed: check that Preset Manager runs",
    "[WARNING] Phase 4 completed in Xs (target: 2s) without verification",
  ])
    assert.ok(lines.includes(line), `${line} in\n${lines.join("\n")}`);
  assert.equal((await fetch(`${pod.healthUrl}/health`)).status, 200);
  assert.equal(await fettle.stop(), 0);
});

test("hooks run before phase 1 and after phase 4, their output in setup.log; a failure warns", patient, async () => {
  await using pod = await createPod();
  writeFileSync(join(pod.dir, "pre_start.sh"), "echo before everything\n");
  writeFileSync(join(pod.dir, "post_start.sh"), "echo after everything; exit 5\n");
  const fettle = pod.start();
  await fettle.untilSaid(/post-start ended with code 5/);
  assert.match(fettle.said(), /pre-start \| before everything[^]*Phase 1:[^]*Startup completed[^]*post-start \| after everything/);
  assert.equal(await fettle.stop(), 0);
  assert.match(pod.read("logs/setup.log"), /^before everything\n[^]*after everything\n$/);
});

test("a hook that hangs is ended after its own time limit and the boot goes on; onFailure: exit ends it", patient, async () => {
  await using pod = await createPod();
  writeFileSync(join(pod.dir, "pre_start.sh"), "sleep 1000\n");
  const hangs = pod.start({ config: { hooks: { preStart: { timeout: "200ms" } } } });
  await hangs.untilSaid(booted);
  assert.match(hangs.said(), /\[WARNING\] Cannot start pre-start: it was not done after 0.2 s/);
  assert.equal(await hangs.stop(), 0);
  writeFileSync(join(pod.dir, "pre_start.sh"), "exit 7\n");
  const fails = pod.start({ config: { hooks: { preStart: { onFailure: "exit" } } } });
  assert.equal(await fails.ended, 7);
  assert.doesNotMatch(fails.said(), /comfyui listens/);
});

test("a real folder where a link belongs is set aside, a wrong link is put right", patient, async () => {
  await using pod = await createPod();
  const comfyui = join(pod.app, "comfyui");
  writeFileSync(join(comfyui, "models/baked.safetensors"), "baked");
  symlinkSync("/nowhere", join(comfyui, "output"));
  mkdirSync(join(comfyui, "input"));
  const fettle = pod.start();
  await fettle.untilSaid(booted);
  assert.equal(readFileSync(join(comfyui, "models.before-link/baked.safetensors"), "utf8"), "baked");
  for (const name of ["models", "input", "output"]) assert.equal(readlinkSync(join(comfyui, name)), join(pod.workspace, name));
  assert.match(fettle.said(), /moved .*models, a real folder, to .*models\.before-link/);
  assert.equal(await fettle.stop(), 0);
  rmSync(join(comfyui, "models.before-link"), { recursive: true });
});

test("phases that do not wait for each other run side by side", patient, async () => {
  await using pod = await createPod();
  // ComfyUI never answers, so that phase 2 is still open when phase 3 is done.
  const fettle = pod.start({ config: { phases: { dashboards: { after: ["volume"] } }, services: { comfyui: { command: standIn("comfyui") } } } });
  await fettle.untilSaid(/Phase 3 completed/);
  assert.match(fettle.said(), /Phase 2: Service Startup/);
  assert.doesNotMatch(fettle.said(), /Phase 2 completed|Phase 4/);
  assert.equal(await fettle.stop(), 0);
});

test("SIGTERM in the middle of a boot, with a service that is deaf to it: nobody is left", patient, async () => {
  await using pod = await createPod();
  const deaf = { nginx: { command: standIn("nginx", "--deaf"), stop: { grace: "200ms" } } };
  const fettle = pod.start({ config: { services: deaf } });
  await fettle.untilSaid(/comfyui is ready/);
  const pid = Number(pod.read("logs/nginx.pid"));
  assert.equal(await fettle.stop(), 0);
  assert.throws(() => process.kill(pid, 0));
  assert.doesNotMatch(fettle.said(), /Phase 2 (completed|failed)/);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { configSchema } from "../../../src/config/schema/index.ts";
import { kinds } from "../../../src/engines/index.ts";
import { fractionOf } from "../../../src/engines/python/fraction.ts";
import { launcherOf } from "../../../src/plan/launch.ts";
import { useTestRun } from "../../../src/plan/test-run.ts";

function launch(options: Record<string, unknown>, existing: readonly string[] = []) {
  const engine = configSchema.parse({ engines: { one: { kind: "python", ...options } } }).engines["one"];
  assert.ok(engine);
  const launcher = launcherOf(kinds, engine);
  const asked = launcher.paths?.(engine, { modelsDir: "/models" }) ?? [];
  const exists = (path: string) => asked.includes(path) && existing.includes(path);
  return launcher.launch("one", engine, { port: 4000, assetDir: "/assets", selfArgv: ["/fettle"], modelsDir: "/models", ownDir: "/own", exists });
}

test("the handler comes last, with what is its own behind it", () => {
  const { argv, cwd, readiness } = launch({
    handler: "my handler.py",
    python: "/venv/python",
    slots: 3,
    reload: true,
    cwd: "/app",
    extraArgs: ["--model", "x"],
  });
  assert.equal(argv.join(" "), "/venv/python -u /assets/python/fettle_handler.py --host 127.0.0.1 --port 4000 --slots 3 --reload my handler.py --model x");
  assert.equal(cwd, "/app");
  assert.equal(readiness.type === "http" && readiness.url, "http://127.0.0.1:4000/ready");
});

test("of several places the first with a file counts, and the first of all where there is none", () => {
  const handler = ["/handler.py", "handler.py"];
  assert.equal(launch({ handler }, ["handler.py"]).argv.at(-1), "handler.py");
  assert.equal(launch({ handler }, ["handler.py", "/handler.py"]).argv.at(-1), "/handler.py");
  assert.equal(launch({ handler }).argv.at(-1), "/handler.py");
});

test("a test run has one source, no port and folders of its own", () => {
  const config = configSchema.parse({ engines: { one: { kind: "python" } }, sources: { http: {}, runpod: {} } });
  const once = useTestRun(config, { path: "/job.json", dir: "/tmp/x" });
  assert.deepEqual(once.sources, { file: { enabled: true, path: "/job.json", exitWhenDone: true, watch: [] } });
  assert.deepEqual([once.health.enabled, once.stateDir, once.runtimeDir, once.engines["one"]?.restart.policy], [false, "/tmp/x/state", "/tmp/x/run", "never"]);
  const watched = useTestRun(config, { path: "/job.json", dir: "/tmp/x", watch: ["/a"] });
  assert.deepEqual(watched.sources.file, { enabled: true, path: "/job.json", exitWhenDone: false, watch: ["/a"] });
  const [engine] = Object.values(watched.engines);
  assert.ok(engine?.kind === "python" && engine.reload && engine.restart.policy === "always");
});

test("how far a job is can be read out of the usual kinds of reports", () => {
  const notes = [
    0,
    0.5,
    1,
    50,
    100,
    "Update 3/12",
    "7 %",
    { progress: 25 },
    { percent: "80%" },
    { step: 3 },
    { progress: { fraction: 0.1 } },
    101,
    -1,
    "5/0",
    null,
    [1],
  ];
  assert.deepEqual(notes.map(fractionOf), [0, 0.5, 1, 0.5, 1, 0.25, 0.07, 0.25, 0.8, undefined, 0.1, undefined, undefined, undefined, undefined, undefined]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { profiles } from "../../src/config/profiles/index.ts";
import { formatOrigin } from "../../src/config/origins.ts";
import { Folder, load, loadText, refusal } from "./harness.ts";

for (const profile of Object.keys(profiles)) {
  test(`profile ${profile} is valid without any environment`, () => {
    const { config, warnings } = load({ profile });
    assert.ok(Object.keys({ ...config.engines, ...config.services }).length > 0);
    assert.deepEqual(warnings, []);
  });
}

test("with nothing named and no file, the demo profile runs", () => {
  const { profile, files } = load();
  assert.equal(profile, "demo");
  assert.deepEqual(files, []);
});

test("an empty file, and one with comments only, is all defaults", () => {
  for (const text of ["", "# nothing yet\n"]) {
    const { config, profile } = loadText(text);
    assert.equal(profile, "custom");
    assert.deepEqual(config.engines, {});
    assert.equal(config.stop.budget, 8000);
  }
});

test("a stronger layer wins: defaults < profile < file < environment < flags", () => {
  const yaml = "extends: demo\nsources: { http: { port: 8001, maxQueue: 5, concurrency: 2 } }\n";
  const env = { FETTLE_HTTP_PORT: "8002", FETTLE_HTTP_LISTEN: "0.0.0.0", FETTLE_API_KEY: "a-long-key" };
  const { config, origins } = loadText(yaml, {
    env,
    flags: { set: ["sources.http.port=8003"], overrides: [{ path: ["log", "format"], value: "json", flag: "--log-format" }] },
  });
  assert.equal(config.sources.http?.port, 8003);
  assert.equal(config.sources.http?.listen, "0.0.0.0");
  assert.equal(config.sources.http?.maxQueue, 5);
  assert.equal(config.engines["diffusers"]?.port, 3000);
  assert.equal(config.log.format, "json");
  const origin = (path: string) => formatOrigin(origins.get(path));
  assert.equal(origin("sources.http.port"), "flag --set");
  assert.equal(origin("sources.http.listen"), "environment FETTLE_HTTP_LISTEN");
  assert.equal(origin("sources.http.maxQueue"), "file fettle.yaml:2");
  assert.equal(origin("engines.diffusers.port"), "profile demo");
  assert.equal(origin("log.format"), "flag --log-format");
  assert.equal(origin("log.level"), "default");
});

test("an environment variable of the job API does not create a job API", () => {
  const { config } = loadText("health: { port: 0 }\n", { env: { FETTLE_HTTP_PORT: "8002" } });
  assert.equal(config.sources.http, undefined);
});

test("FETTLE_PROFILE is an image's default: the file's own extends wins, --profile wins over both", () => {
  const env = { FETTLE_PROFILE: "a1111-runpod" };
  assert.equal(load({ env }).profile, "a1111-runpod");
  assert.equal(loadText("log: { level: debug }\n", { env }).profile, "a1111-runpod");
  assert.equal(loadText("extends: demo\n", { env }).profile, "demo");
  using folder = new Folder();
  const file = folder.write("own.yaml", "extends: demo\nlog: { level: debug }\n");
  const { profile, config } = load({ env, file, profile: "a1111-runpod" });
  assert.equal(profile, "a1111-runpod");
  assert.equal(config.log.level, "debug");
});

test("a profile named by flag alone looks for no file", () => {
  using folder = new Folder();
  folder.write("fettle.yaml", "log: { level: debug }\n");
  assert.equal(load({ cwd: folder.path, profile: "demo" }).config.log.level, "info");
});

test("files are found in order: FETTLE_CONFIG, fettle.yaml, fettle.yml", () => {
  using folder = new Folder();
  const level = (env = {}) => load({ cwd: folder.path, env }).config.log.level;
  folder.write("fettle.yml", "log: { level: debug }\n");
  assert.equal(level(), "debug");
  folder.write("fettle.yaml", "log: { level: warn }\n");
  assert.equal(level(), "warn");
  folder.write("other.yaml", "log: { level: error }\n");
  assert.equal(level({ FETTLE_CONFIG: "other.yaml" }), "error");
  const lost = refusal(() => load({ cwd: folder.path, env: { FETTLE_CONFIG: "lost.yaml" } }));
  assert.equal(lost.code, "config.not-found");
});

test("folders default by user: root's are the system's, anyone else's follow XDG", () => {
  const folders = (uid: number, env: Record<string, string>) => {
    const { stateDir, logDir, runtimeDir } = load({ uid, env }).config;
    return [stateDir, logDir, runtimeDir];
  };
  assert.deepEqual(folders(0, { HOME: "/root" }), ["/var/lib/fettle", "/var/log/fettle", "/run/fettle"]);
  assert.deepEqual(folders(1000, { HOME: "/home/ann" }), ["/home/ann/.local/state/fettle", "/home/ann/.local/state/fettle/log", "/tmp/fettle-1000"]);
  assert.deepEqual(folders(1000, { HOME: "/home/ann", XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/r" }), ["/s/fettle", "/s/fettle/log", "/r/fettle"]);
  assert.deepEqual(folders(1000, { XDG_STATE_HOME: "relative" }), ["/tmp/fettle-1000/state", "/tmp/fettle-1000/state/log", "/tmp/fettle-1000"]);
});

test("folders written relative are resolved where fettle was started", () => {
  using folder = new Folder();
  assert.equal(load({ cwd: folder.path, flags: { set: ["stateDir=./state"] } }).config.stateDir, `${folder.path}/state`);
});

test("--set takes YAML scalars, lists in brackets, and text as it is", () => {
  const set = (text: string) => load({ flags: { set: [text] } }).config;
  assert.equal(set("stop.budget=20s").stop.budget, 20_000);
  assert.equal(set("health.enabled=false").health.enabled, false);
  assert.deepEqual(set("announce=[one, two]").announce, ["one", "two"]);
  assert.equal(set("description=a: b # c").description, "a: b # c");
  assert.equal(set("description=").description, "");
  assert.equal(set("description=null").description, undefined);
  assert.equal(refusal(() => set("nothing")).code, "cli.bad-value");
  assert.equal(refusal(() => set("announce=[one")).code, "cli.bad-value");
});

test("words for a program stay as written", () => {
  const { config } = loadText('services: { s: { command: [run, 1.10, 007, 0x1F, 12345678901234567890], env: { A: 1.0, B: True, C: "x", D: ~ } } }\n');
  assert.deepEqual(config.services["s"]?.command, ["run", "1.10", "007", "0x1F", "12345678901234567890"]);
  assert.deepEqual(config.services["s"]?.env, { A: "1.0", B: "True", C: "x", D: null });
});

test("unknown FETTLE_ variables are warned about, known ones and test ones are not", () => {
  const { warnings } = load({ env: { FETTLE_HTP_PORT: "1", FETTLE_PYTHON: "python3", FETTLE_TEST_X: "1", FETTLE_XYZZYX: "1" } });
  assert.deepEqual(warnings, [
    "The environment variable FETTLE_HTP_PORT is not known to fettle. Did you mean FETTLE_HTTP_PORT?",
    "The environment variable FETTLE_XYZZYX is not known to fettle.",
  ]);
});

test("--port in a1111 arguments that disagrees with port is warned about", () => {
  const { warnings } = load({ profile: "a1111-runpod", flags: { set: ["engines.webui.port=3001"] } });
  assert.match(warnings[0] ?? "", /--port 3000.*port 3001/);
  assert.deepEqual(load({ profile: "a1111-runpod", flags: { set: ["engines.webui.port=3001", "engines.webui.extraArgs=[--port, 3001]"] } }).warnings, []);
});

test("a job API that others reach without a key must be meant", () => {
  const open = "extends: demo\nsources: { http: { listen: 0.0.0.0 } }\n";
  assert.throws(() => loadText(open), { code: "config.open-to-world", message: /listens on 0\.0\.0\.0 and asks nobody for a key/ });
  assert.equal(loadText(open, { env: { FETTLE_API_KEY: "a-long-key" } }).config.sources.http?.apiKey, "a-long-key");
  assert.equal(loadText(open.replace("} }", ", allowUnauthenticated: true } }")).config.sources.http?.listen, "0.0.0.0");
  assert.equal(loadText("extends: demo\nsources: { http: { listen: 127.0.0.2 } }\n").config.sources.http?.listen, "127.0.0.2");
  assert.equal(loadText("sources: { http: { listen: '' } }\n").config.sources.http?.listen, "127.0.0.1");
});

test("the RunPod profile is open on PORT, where the platform's load balancer asks for the key, and nowhere else", () => {
  const usual = load({ profile: "a1111-runpod", env: {} }).config.sources.http;
  assert.deepEqual([usual?.listen, usual?.port, usual?.healthPort, usual?.allowUnauthenticated], ["127.0.0.1", 8000, "", false]);
  const balanced = load({ profile: "a1111-runpod", env: { RUNPOD_ENDPOINT_ID: "ep", PORT: "80", PORT_HEALTH: "81" } }).config.sources.http;
  assert.deepEqual([balanced?.listen, balanced?.port, balanced?.healthPort, balanced?.allowUnauthenticated], ["0.0.0.0", 80, 81, true]);
  assert.throws(() => load({ profile: "a1111-runpod", env: { PORT: "80" } }), { code: "config.open-to-world" });
});

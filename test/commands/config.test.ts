import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
const folder = mkdtempSync(join(tmpdir(), "fettle-cli-config-"));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the real program in the test's folder, with an environment of our own. */
function fettle(args: readonly string[], env: Record<string, string> = {}): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...runtime, "config", ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: folder, ...env },
  });
  return { code: status, out: stdout, err: stderr };
}

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

test("init, check and show follow one another", () => {
  const made = fettle(["init", "--profile", "a1111-runpod"]);
  assert.deepEqual([made.code, made.out], [0, `${join(folder, "fettle.yaml")}\n`]);
  assert.equal((JSON.parse(readFileSync(join(folder, "fettle.schema.json"), "utf8")) as { title: string }).title, "fettle configuration");
  assert.deepEqual(fettle(["check"]), { code: 0, out: "fettle.yaml is valid (profile a1111-runpod).\n", err: "" });
  assert.match(fettle(["show"]).out, /^# Profile a1111-runpod, file .*fettle\.yaml\n/);

  const again = fettle(["init"]);
  assert.equal(again.code, 2);
  assert.match(again.err, /it exists.*\n.*--force/);
  assert.equal(fettle(["init", "--force"]).code, 0);
  assert.match(readFileSync(join(folder, "fettle.yaml"), "utf8"), /^extends: demo$/m);
  rmSync(join(folder, "fettle.yaml"));
});

test("init leaves a schema file that is not fettle's own alone", () => {
  write("fettle.schema.json", "{}");
  assert.equal(fettle(["init"]).code, 2);
  assert.equal(readFileSync(join(folder, "fettle.schema.json"), "utf8"), "{}");
  rmSync(join(folder, "fettle.schema.json"));
});

test("check draws every mistake and ends with 2; --json gives them as a value", () => {
  write("bad.yaml", "extends: demo\nlog: { levle: info }\nstop: { budget: soon }\n");
  const drawn = fettle(["check", "bad.yaml"]);
  assert.deepEqual([drawn.code, drawn.out], [2, ""]);
  assert.match(drawn.err, /bad\.yaml:2:8[\s\S]*Did you mean "level"\?[\s\S]*bad\.yaml:3:17/);
  const { code, out } = fettle(["check", "bad.yaml", "--json"]);
  const value = JSON.parse(out) as { ok: boolean; errors: { code: string; where: { line: number } }[] };
  assert.deepEqual(
    [code, value.ok, value.errors.map((one) => [one.code, one.where.line])],
    [
      2,
      false,
      [
        ["config.unknown-key", 2],
        ["config.invalid", 3],
      ],
    ],
  );
  assert.equal(fettle(["check", "nowhere.yaml"]).code, 2);
});

const impossible: readonly [what: string, yaml: string, code: string, place: string][] = [
  ["a cycle", "services:\n  a: { command: [x], dependsOn: { b: ready } }\n  b:\n    command: [x]\n    dependsOn:\n      a: started\n", "plan.cycle", "2:35"],
  [
    "a cycle through phases",
    "phases: { one: {}, two: {} }\nservices:\n  a: { phase: one, command: [x], dependsOn: { b: ready } }\n  b: { phase: two, command: [x] }\n",
    "plan.cycle",
    "3:47",
  ],
  ["phases in a circle", "phases:\n  one: { after: [two] }\n  two: { after: [one] }\n", "plan.cycle", "2:10"],
  [
    "a dependency that is off",
    "services:\n  a: { command: [x], dependsOn: { b: ready } }\n  b: { command: [x], enabled: false }\n",
    "plan.missing-dependency",
    "2:35",
  ],
  [
    "a copy's dependency that is off",
    "services:\n  a: { command: [x], replicas: 2, dependsOn: { b: ready } }\n  b: { command: [x], enabled: false }\n",
    "plan.missing-dependency",
    "2:48",
  ],
  [
    "a direct log that two write",
    "services:\n  a: { command: [x], logFile: one.log }\n  b: { command: [x], logFile: one.log, log: direct }\n",
    "config.invalid",
    "3:40",
  ],
  ["a PID file that two write", "services:\n  a: { command: [x] }\n  b: { command: [x], pidFile: a.pid }\n", "config.invalid", "3:22"],
];
for (const [what, yaml, code, place] of impossible) {
  test(`check finds ${what}, with its place`, () => {
    write("impossible.yaml", yaml);
    const { code: exit, out } = fettle(["check", "impossible.yaml", "--json"]);
    const { errors } = JSON.parse(out) as { errors: { code: string; where: { file: string; line: number; column: number } }[] };
    assert.deepEqual([exit, errors.map((one) => [one.code, `${one.where.line}:${one.where.column}`])], [2, [[code, place]]]);
  });
}

test("check asks nothing of the machine: what this one lacks is no mistake of the file", () => {
  write(
    "elsewhere.yaml",
    "sources: { runpod: { enabled: true } }\nservices: { h: { command: [x], onlyIfExists: /nope }, i: { command: [y], dependsOn: { h: ready }, replicas: gpu } }\n",
  );
  assert.equal(fettle(["check", "elsewhere.yaml"]).code, 0);
});

test("check --json of a valid file is ok and carries the warnings", () => {
  write("good.yaml", "extends: demo\n");
  const { code, out } = fettle(["check", "good.yaml", "--json"], { FETTLE_HTP_PORT: "1" });
  const value = JSON.parse(out) as { ok: boolean; errors: unknown[]; warnings: string[] };
  assert.deepEqual([code, value.ok, value.errors, value.warnings.length], [0, true, [], 1]);
});

test("show --json gives values and origins, and no secret", () => {
  const { code, out } = fettle(["show", "--profile", "demo", "--set", "health.port=0", "--json"], { FETTLE_API_KEY: "sk-very-secret" });
  const value = JSON.parse(out) as {
    config: { health: { port: number }; sources: { http: { apiKey: string } } };
    origins: Record<string, { layer: string; name: string }>;
  };
  assert.equal(code, 0);
  assert.equal(value.config.health.port, 0);
  assert.deepEqual(value.origins["health.port"], { layer: "flags", name: "--set" });
  assert.equal(value.config.sources.http.apiKey, "***");
  assert.ok(!out.includes("sk-very-secret"));
});

test("show --source prints a profile as it is embedded", () => {
  const file = new URL("../../src/config/profiles/demo.yaml", import.meta.url);
  assert.equal(fettle(["show", "--profile", "demo", "--source"]).out, readFileSync(file, "utf8"));
});

test("schema is the committed one", () => {
  assert.equal(fettle(["schema"]).out, readFileSync(new URL("../../docs/config.schema.json", import.meta.url), "utf8"));
});

test("what does not exist is refused with a suggestion", () => {
  const rows: [args: string[], said: RegExp][] = [
    [["chek"], /Did you mean `fettle config check`\?/],
    [["show", "--force"], /does not take --force/],
    [["show", "extra"], /one argument too many/],
    [["show", "--profile", "dmo"], /Did you mean "demo"\?/],
    [["show", "--profile", "dmo", "--source"], /Did you mean "demo"\?/],
    [["init", "--profile", "dmo"], /Did you mean "demo"\?/],
    [[], /<action> is missing/],
  ];
  for (const [args, said] of rows) {
    const { code, err } = fettle(args);
    assert.equal(code, 2, args.join(" "));
    assert.match(err, said);
  }
});

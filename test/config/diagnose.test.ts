import assert from "node:assert/strict";
import { test } from "node:test";
import { drawn, loadText, refusal } from "./harness.ts";

/** The drawing of one mistaken file, word for word. */
const rows: [name: string, yaml: string, expected: string][] = [
  [
    "an unknown key",
    "extends: demo\nsources:\n  http:\n    prot: 8188\n",
    `✖ Cannot use config: unknown key "prot".                      config.unknown-key
    fettle.yaml:4:5 (sources.http.prot)
          prot: 8188
          ~~~~
  Did you mean "port"?`,
  ],
  [
    "an unknown key that resembles nothing",
    "log:\n  colour: red\n",
    `✖ Cannot use config: unknown key "colour".                    config.unknown-key
    fettle.yaml:2:3 (log.colour)
        colour: red
        ~~~~~~
  Keys here: format, level.`,
  ],
  [
    "an unknown profile",
    "extends: dmo\n",
    `✖ Cannot use profile "dmo": there is no such profile.     config.unknown-profile
    fettle.yaml:1:10 (extends)
      extends: dmo
               ~~~
  Did you mean "demo"?`,
  ],
  [
    "a wrong type",
    "announce: hello\n",
    `✖ Cannot use config: announce is the text "hello", expected a list.  config.invalid
    fettle.yaml:1:11 (announce)
      announce: hello
                ~~~~~
  Write it in brackets: [one, two].`,
  ],
  [
    "a duration without its unit",
    "stop: { budget: 8 }\n",
    `✖ Cannot use config: budget is the number 8, expected a duration with its unit, such as 200ms, 2s or 10m.  config.invalid
    fettle.yaml:1:17 (stop.budget)
      stop: { budget: 8 }
                      ~
  Add the unit: 8ms or 8s.`,
  ],
  [
    "an unknown word",
    "log:\n  level: inof\n",
    `✖ Cannot use config: level is the text "inof", expected one of error, warn, info, debug.  config.invalid
    fettle.yaml:2:10 (log.level)
        level: inof
               ~~~~
  Did you mean "info"?`,
  ],
  [
    "an unknown kind, and the key beside it in the same go",
    "engines:\n  webui:\n    kind: a111\n    prt: 3000\n",
    `✖ Cannot use config: kind is the text "a111", expected one of a1111, diffusers, python, comfyui.  config.invalid
    fettle.yaml:3:11 (engines.webui.kind)
          kind: a111
                ~~~~
  Did you mean "a1111"?

✖ Cannot use config: unknown key "prt".                       config.unknown-key
    fettle.yaml:4:5 (engines.webui.prt)
          prt: 3000
          ~~~
  Did you mean "port"?`,
  ],
  [
    "something missing",
    "services:\n  web:\n    cwd: /\n",
    `✖ Cannot use config: command is missing, expected a list of words.  config.invalid
    fettle.yaml:2:3 (services.web.command)
        web:
        ~~~
  \`fettle config schema\` says what each key takes.`,
  ],
  [
    "a misspelt removal",
    "extends: demo\nsources:\n  htp: ~\n",
    `✖ Cannot use config: unknown key "htp".                       config.unknown-key
    fettle.yaml:3:3 (sources.htp)
        htp: ~
        ~~~
  Did you mean "http"?`,
  ],
  [
    "YAML that does not parse",
    "log:\n\tlevel: info\n",
    `✖ Cannot read config: a tab is used as indentation.                config.syntax
    fettle.yaml:2:1
       level: info
      ~
  Use spaces.`,
  ],
  [
    "a dependency on nothing",
    "extends: demo\nservices:\n  web: { command: [x], dependsOn: { difusers: ready } }\n",
    `✖ Cannot use config: "web" waits for "difusers", which does not exist.  plan.missing-dependency
    fettle.yaml:3:37 (services.web.dependsOn.difusers)
        web: { command: [x], dependsOn: { difusers: ready } }
                                          ~~~~~~~~
  Did you mean "diffusers"?`,
  ],
];

for (const [name, yaml, expected] of rows)
  test(name, () =>
    assert.equal(
      drawn(() => loadText(yaml)),
      expected,
    ),
  );

test("every mistake is reported at once, in reading order", () => {
  const yaml = "version: 2\nnope: 1\nhealth: { port: 70000, enabled: maybe }\nservices: { s: { command: [] , env: { K: [1] } } }\nextends: ${NOPE_}\n";
  const error = refusal(() => loadText(yaml));
  const lines = [error, ...error.others].map((one) => `${one.where?.line} ${one.where?.path} ${one.code}`);
  assert.deepEqual(lines, [
    "1 version config.invalid",
    "2 nope config.unknown-key",
    "3 health.port config.invalid",
    "3 health.enabled config.invalid",
    "4 services.s.command config.invalid",
    "4 services.s.env.K config.invalid",
    "5 extends config.missing-variable",
  ]);
});

test("a mistake in a variable or a flag names it instead of a line", () => {
  const fromEnvironment = refusal(() => loadText("", { env: { FETTLE_LOG_LEVEL: "loud" } }));
  assert.deepEqual(fromEnvironment.where, { file: "environment", source: "FETTLE_LOG_LEVEL=loud", path: "log.level" });
  const fromFlag = refusal(() => loadText("", { flags: { set: ["log.levl=info"] } }));
  assert.deepEqual(fromFlag.where, { file: "command line", source: "--set log.levl=info", path: "log.levl" });
  assert.equal(fromFlag.hint, 'Did you mean "level"?');
});

const crossed: [name: string, yaml: string, code: string, path: string][] = [
  ["two engines on one port", "extends: demo\nengines: { two: { kind: a1111 } }", "plan.port-taken-twice", "engines.two.port"],
  ["an engine on the job API's port", "extends: demo\nengines: { diffusers: { port: 8000 } }", "plan.port-taken-twice", "engines.diffusers.port"],
  ["an engine on the health port", "extends: demo\nhealth: { port: 3000 }", "plan.port-taken-twice", "engines.diffusers.port"],
  ["one name for an engine and a service", "extends: demo\nservices: { diffusers: { command: [x] } }", "config.invalid", "services.diffusers"],
  ["a service that waits for itself", "services: { s: { command: [x], dependsOn: { s: ready } } }", "plan.cycle", "services.s.dependsOn.s"],
  ["a phase that does not exist", "phases: { one: {} }\nservices: { s: { command: [x], phase: two } }", "plan.unknown-phase", "services.s.phase"],
  ["a former phase that does not exist", "phases: { one: { after: [none] } }", "plan.unknown-phase", "phases.one.after.0"],
  ["a command and steps", "services: { s: { command: [x], steps: [{ directories: [/a] }] } }", "config.invalid", "services.s.steps"],
  ["a check of two things", "services: { s: { steps: [{ check: { exists: /a, tcp: 3 } }] } }", "config.invalid", "services.s.steps.0.check"],
  [
    "a step's misspelt kind",
    "services: { s: { steps: [{ check: { exists: / } }, { directorys: [/a] }] } }",
    "config.unknown-key",
    "services.s.steps.1.directorys",
  ],
  ["a step's misspelt key", "services: { s: { steps: [{ write: { path: /a, blok: x } }] } }", "config.unknown-key", "services.s.steps.0.write.blok"],
  ["a step's wrong value", "services: { s: { steps: [{ directories: /a }] } }", "config.invalid", "services.s.steps.0.directories"],
  ["a step's wrong word", "services: { s: { steps: [{ directories: [/a], onFailure: wan }] } }", "config.invalid", "services.s.steps.0.onFailure"],
  ["a step of nothing known", "services: { s: { steps: [{ foo: 1 }] } }", "config.invalid", "services.s.steps.0"],
  [
    "a condition's misspelt key",
    "services: { t: { command: [x] }, s: { command: [x], dependsOn: { t: { logLin: x } } } }",
    "config.unknown-key",
    "services.s.dependsOn.t.logLin",
  ],
  ["what is no address to listen on", "health: { listen: 'not a host!' }", "config.invalid", "health.listen"],
  [
    "an address with a port",
    "services: { s: { command: [x], readiness: { tcp: { host: '127.0.0.1:80', port: 80 } } } }",
    "config.invalid",
    "services.s.readiness.tcp.host",
  ],
  ["a URL without a scheme", "engines: { e: { kind: a1111, url: 'localhost:3000' } }", "config.invalid", "engines.e.url"],
  ["fettle's own name", "services: { worker: { command: [x] } }", "config.invalid", "services.worker"],
];

for (const [name, yaml, code, path] of crossed) {
  test(`refused: ${name}`, () => {
    const { code: found, where } = refusal(() => loadText(yaml));
    assert.deepEqual([found, where?.path], [code, path]);
  });
}

test("a step's mistake is named with the nearest key of the step that was meant", () => {
  const hints = [
    "{ directorys: [/a] }",
    "{ directories: [/a], mod: '0700' }",
    "{ check: { exists: / }, timeot: 3s }",
    "{ links: [{ path: /a, to: /b }], onFoldr: keep }",
  ].map((step) => refusal(() => loadText(`services: { s: { steps: [${step}] } }`)).hint);
  assert.deepEqual(hints, ['Did you mean "directories"?', 'Did you mean "mode"?', 'Did you mean "timeout"?', 'Did you mean "onFolder"?']);
});

test("names and addresses of both kinds are hosts, and copies may count in them", () => {
  for (const host of ["localhost", "0.0.0.0", "::", "::1", "my-host.local", "host_1", "10.0.0.{index}"])
    assert.equal(loadText(`health: { listen: '${host}' }`).config.health.listen, host);
  loadText("services: { s: { command: [x], replicas: 2, readiness: { http: 'http://127.0.0.1:{8188+index}/x' } } }");
});

test("port 0, a disabled engine and an engine elsewhere clash with nothing", () => {
  const yaml = "extends: demo\nengines: { a: { kind: a1111, port: 0 }, b: { kind: a1111, enabled: false }, c: { kind: a1111, url: 'http://127.0.0.1:3000' } }";
  assert.equal(Object.keys(loadText(yaml).config.engines).length, 4);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { profiles } from "../../src/config/profiles/index.ts";
import { showYaml } from "../../src/config/show.ts";
import { starterFile } from "../../src/config/starter.ts";
import { load, loadText } from "./harness.ts";

test("each value carries the layer it came from; defaults carry none", () => {
  const loaded = loadText("extends: a1111-runpod\nengines: { webui: { port: 3001, extraArgs: [--medvram] } }\n", {
    env: { FETTLE_STATE_DIR: "/state" },
    flags: { set: ["log.level=debug"] },
  });
  const lines = showYaml(loaded).split("\n");
  for (const line of [
    "    port: 3001  # file fettle.yaml",
    "    directory: /stable-diffusion-webui  # profile a1111-runpod",
    "  level: debug  # flag --set",
    "  format: auto",
    "stateDir: /state  # environment FETTLE_STATE_DIR",
    "      - --medvram",
    "      period: 200ms  # profile a1111-runpod",
    "      timeout: 2m  # profile a1111-runpod",
  ]) {
    assert.ok(lines.includes(line), line);
  }
  const all = showYaml(loaded, { everyOrigin: true }).split("\n");
  assert.ok(all.includes("    port: 3001  # file fettle.yaml:2"));
  assert.ok(all.includes("  format: auto  # default"));
});

test("a value that a variable gave names the variable", () => {
  const loaded = load({ profile: "a1111-runpod", env: { RUNPOD_POD_ID: "pod-7" } });
  assert.match(showYaml(loaded), /podId: pod-7 {2}# profile a1111-runpod, from RUNPOD_POD_ID/);
});

for (const profile of Object.keys(profiles)) {
  test(`what is shown of ${profile} is a configuration with the same meaning`, () => {
    const loaded = load({ profile });
    assert.deepEqual(loadText(showYaml(loaded)).config, loaded.config);
  });

  test(`the starter for ${profile} is valid, also with every line uncommented`, () => {
    const starter = starterFile(profile, "./fettle.schema.json");
    assert.match(starter, /^# yaml-language-server: \$schema=\.\/fettle\.schema\.json\n/);
    assert.equal(loadText(starter).profile, profile);
    const [head = "", body = ""] = starter.split(/(?<=^extends: .*\n)/m);
    const uncommented = head + body.replace(/^# /gm, "");
    const { config } = loadText(uncommented, { env: { API_KEY: "key" } });
    assert.equal(config.log.format, "json");
    assert.ok(config.services["tensorboard"]);
  });
}

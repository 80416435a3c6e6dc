import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "../../src/config/load.ts";

function inFolder(files: Record<string, string>, use: (load: (env?: Record<string, string>) => ReturnType<typeof loadConfig>) => void): void {
  const cwd = mkdtempSync(join(tmpdir(), "fettle-env-"));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text);
    use((env = {}) => loadConfig({ file: "fettle.yaml", env, cwd, uid: 0 }));
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}

const config = (envFiles: string) => `version: 1\nenvFiles: ${envFiles}\nservices: { a: { command: ["\${PROGRAM:-none}"], enabled: "\${ENABLE_A:-true}" } }\n`;

test("only files that are named are read; the real environment wins, and FETTLE_ variables count", () => {
  const env = "# comment\nPROGRAM='from file'\nENABLE_A=false\nexport FETTLE_STOP_BUDGET=3s\nAPI_TOKEN=sesame-open\n";
  inFolder({ "fettle.yaml": config("[my.env]"), "my.env": env, ".env": "PROGRAM=stray\n" }, (load) => {
    const { config: loaded, fileEnv, secrets, files } = load({ PROGRAM: "real" });
    assert.deepEqual([loaded.services["a"]?.command, loaded.services["a"]?.enabled, loaded.stop.budget], [["real"], false, 3000]);
    assert.deepEqual(Object.keys(fileEnv).toSorted(), ["API_TOKEN", "ENABLE_A", "FETTLE_STOP_BUDGET"]);
    assert.ok(secrets.includes("sesame-open"));
    assert.equal(files.length, 2);
    assert.deepEqual(load().config.services["a"]?.command, ["from file"]);
  });
  inFolder({ "fettle.yaml": config("[]"), ".env": "PROGRAM=stray\n" }, (load) => assert.deepEqual(load().config.services["a"]?.command, ["none"]));
});

test("a missing file is a mistake with its place, unless it may be missing", () => {
  inFolder({ "fettle.yaml": config("[gone.env]") }, (load) => assert.throws(load, /gone.env/));
  inFolder({ "fettle.yaml": config("[-gone.env]") }, (load) => assert.deepEqual(load().fileEnv, {}));
});

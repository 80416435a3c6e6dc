import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
const folder = mkdtempSync(join(tmpdir(), "fettle-cli-install-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function install(...args: string[]): { code: number | null; value: unknown } {
  const env = { PATH: process.env["PATH"], HOME: folder, FETTLE_STATE_DIR: join(folder, "state") };
  const { status, stdout } = spawnSync(process.execPath, [...runtime, "install", "--json", ...args], { cwd: folder, encoding: "utf8", env });
  return { code: status, value: JSON.parse(stdout) };
}

test("a webui that is not there is a failed step; one that is there is nothing to do", () => {
  writeFileSync(join(folder, "fettle.yaml"), "extends: a1111-runpod\nengines: { webui: { directory: ./webui } }\n");
  const { code, value } = install();
  assert.equal(code, 1);
  assert.equal((value as { error: { code: string } }).error.code, "install.failed");

  mkdirSync(join(folder, "webui"));
  writeFileSync(join(folder, "webui/webui.py"), "");
  const again = install();
  assert.equal(again.code, 0);
  assert.deepEqual(
    (again.value as { steps: { outcome: string }[] }).steps.map(({ outcome }) => outcome),
    ["skipped"],
  );
});

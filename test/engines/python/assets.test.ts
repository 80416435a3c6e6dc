import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { unpackAssets } from "../../../src/engines/diffusers/unpack.ts";
import { pythonAssets } from "../../../src/engines/python/assets.ts";

const helper = fileURLToPath(new URL("../../../src/engines/python/helper", import.meta.url));
const filesIn = (dir: string) =>
  readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".py"))
    .sort();

test("every file of the handler's process travels with the binary, as it stands", () => {
  assert.deepEqual(Object.keys(pythonAssets).sort(), filesIn(helper));
  for (const file of filesIn(helper)) assert.equal(pythonAssets[file], readFileSync(join(helper, file), "utf8"), file);
});

test("it is unpacked in its folders, beside the bundled engine", () => {
  const root = mkdtempSync(join(tmpdir(), "fettle-assets-"));
  try {
    assert.deepEqual(filesIn(join(unpackAssets(root), "python")), filesIn(helper));
  } finally {
    rmSync(root, { recursive: true });
  }
});

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assets } from "../../src/engines/diffusers/assets.ts";
import { assetDirIn, unpackAssets } from "../../src/engines/diffusers/unpack.ts";

const here = dirname(fileURLToPath(import.meta.url));
const helper = join(here, "../../src/engines/diffusers/helper");
const root = mkdtempSync(join(tmpdir(), "fettle-assets-"));
after(() => rmSync(root, { recursive: true }));

const isAsset = (name: string) => name.endsWith(".py") || name.endsWith(".txt");

test("every file of the bundled engine travels with the binary, as it stands", () => {
  const files = readdirSync(helper).filter(isAsset).sort();
  assert.deepEqual(Object.keys(assets).sort(), files);
  for (const file of files) assert.equal(assets[file], readFileSync(join(helper, file), "utf8"), file);
});

test("unpacking is whole, and a second time changes nothing", () => {
  const dir = unpackAssets(root);
  assert.equal(dir, assetDirIn(root));
  assert.deepEqual(readdirSync(dir).sort(), [...Object.keys(assets), "python"].sort());
  assert.equal(unpackAssets(root), dir);
});

test("processes that unpack at the same moment all find the same whole folder", async () => {
  const place = join(root, "race");
  const script = `const { unpackAssets } = await import(${JSON.stringify(join(here, "../../src/engines/diffusers/unpack.ts"))}); console.log(unpackAssets(${JSON.stringify(place)}));`;
  const argv = process.versions["deno"] === undefined ? ["-e", script] : ["eval", script];
  const run = () =>
    new Promise<string>((resolve, reject) => {
      const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
      let out = "";
      child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
      child.once("error", reject).once("close", (code) => (code === 0 ? resolve(out.trim()) : reject(new Error(`exit code ${code}`))));
    });
  const dirs = await Promise.all([run(), run(), run(), run()]);
  assert.deepEqual(new Set(dirs), new Set([assetDirIn(place)]));
  // Nothing half-made is left beside it.
  assert.deepEqual(readdirSync(place), [assetDirIn(place).slice(place.length + 1)]);
});

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { hashOf, sendRanges, startModelHost } from "../models/model-host.ts";
import { openMergeCli, readTensor, tinyBase, tinyLora, weight } from "./merge-cli.ts";

/** Few for everyday; FETTLE_TEST_KILLS=50 for the whole claim. */
const kills = Number(process.env["FETTLE_TEST_KILLS"]) || 8;

test(`kill -9 at ${kills} random points: nothing half is ever taken for whole, and the next run completes`, { timeout: 300_000 }, async (context) => {
  await using host = await startModelHost();
  using cli = openMergeCli({ FETTLE_TEST_RETRY_MS: "2", FETTLE_TEST_PART_BYTES: "60000" });
  const base = tinyBase(0, 800_000);
  const lora = tinyLora(0.5);
  const whole = new Set([hashOf(base), hashOf(lora)]);
  const at = (name: string) => join(cli.folder, name);
  let kill = (): void => undefined;
  const killing =
    (bytes: Buffer) =>
    (...args: Parameters<ReturnType<typeof sendRanges>>) => {
      kill();
      sendRanges(bytes)(...args);
    };
  host.serve("/base.safetensors", killing(base));
  host.serve("/lora.safetensors", killing(lora));
  // The second half of the points lies in the merge: the program that it starts as its Python decides.
  const python = at("python");
  const random = Array.from({ length: kills }, (_, index) => Math.floor(((index * 0.618_034) % 1) * 1000));
  const reached = { fetching: 0, merging: 0, late: 0 };
  for (const [index, point] of random.entries()) {
    const template = { checkpoint: host.url("/base.safetensors"), loras: [host.url("/lora.safetensors")], output: `out-${index % 3}.safetensors` };
    writeFileSync(
      at("templates.json"),
      JSON.stringify({ one: template, two: { ...template, format: "single", dtype: "fp16", output: `half-${index}.safetensors` } }),
    );
    const inFetch = index % 2 === 0;
    // Each odd round fetches nothing; each even one begins without a cache now and then.
    const cache = inFetch ? `cache-${Math.floor(index / 4)}` : "cache-warm";
    let asked = 0;
    const delay = (point / 1000) * 0.4;
    writeFileSync(python, `#!/bin/sh\n${inFetch ? "" : `( sleep ${delay}; kill -9 $PPID ) &\n`}exec "${process.env["FETTLE_PYTHON"] ?? "python3"}" "$@"\n`, {
      mode: 0o755,
    });
    const { child, ended } = cli.start(["templates.json", "--force", "--cache", cache, "--python", python]);
    kill = () => {
      if (inFetch && ++asked === 1 + (point % 16)) child.kill("SIGKILL");
    };
    const { signal } = await ended;
    reached[signal !== "SIGKILL" ? "late" : inFetch ? "fetching" : "merging"] += 1;
    kill = () => undefined;
    for (const file of existsSync(at("merged")) ? readdirSync(at("merged")).filter((name) => name.endsWith(".safetensors") && !name.startsWith(".")) : []) {
      assert.deepEqual(readTensor(at(`merged/${file}`), "first_stage_model.x").length > 0, true, file);
      const bytes = readFileSync(at(`merged/${file}`));
      const headerEnd = 8 + Number(bytes.readBigUInt64LE());
      const tensors = Object.entries(JSON.parse(bytes.toString("utf8", 8, headerEnd)) as Record<string, { data_offsets?: [number, number] }>);
      assert.equal(bytes.length, headerEnd + Math.max(...tensors.map(([, one]) => one.data_offsets?.[1] ?? 0)), file);
      if (file.startsWith("out-")) assert.deepEqual(readTensor(at(`merged/${file}`), weight), [2, 12, 5, 24]);
    }
    for (const name of readdirSync(cli.folder).filter((one) => one.startsWith("cache-")))
      for (const blob of existsSync(at(`${name}/blobs`)) ? readdirSync(at(`${name}/blobs`), { recursive: true, encoding: "utf8" }) : []) {
        if (!blob.endsWith(".safetensors")) continue;
        const hash = hashOf(readFileSync(at(`${name}/blobs/${blob}`)));
        assert.ok(whole.has(hash) && blob.startsWith(hash), `${name}: ${basename(blob)}`);
      }
  }
  context.diagnostic(JSON.stringify(reached));
  writeFileSync(python, `#!/bin/sh\nexec "${process.env["FETTLE_PYTHON"] ?? "python3"}" "$@"\n`, { mode: 0o755 });
  const all = Array.from({ length: 3 }, (_, index) => [
    `last-${index}`,
    { checkpoint: host.url("/base.safetensors"), loras: [host.url("/lora.safetensors")], output: `out-${index}.safetensors` },
  ]);
  writeFileSync(at("templates.json"), JSON.stringify(Object.fromEntries(all)));
  const last = await cli.run(["templates.json", "--cache", "cache-0", "--python", python]);
  assert.equal(last.code, 0, last.err);
  for (const index of [0, 1, 2]) assert.deepEqual(readTensor(at(`merged/out-${index}.safetensors`), weight), [2, 12, 5, 24]);
  // What the killed left beside their outputs is gone, their locks too.
  assert.deepEqual(
    readdirSync(at("merged")).filter((name) => name.startsWith(".") && !name.includes("half-")),
    [],
  );
  assert.ok(reached.fetching > 0 && reached.merging > 0, JSON.stringify(reached));
});

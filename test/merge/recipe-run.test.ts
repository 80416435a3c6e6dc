import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hashOf, type ModelHost, redirectTo, sendRanges, startModelHost } from "../models/model-host.ts";
import { openMergeCli, readTensor, tensorFile, tinyBase, tinyLora, weight } from "./merge-cli.ts";

const hfToken = "hf_SECRETSECRET";
const civitaiKey = "civitai_SECRETSECRET";
const envOf = (host: ModelHost) => ({
  HF_ENDPOINT: host.url(""),
  HF_TOKEN: hfToken,
  FETTLE_CIVITAI_URL: host.url("", "localhost"),
  CIVITAI_TOKEN: civitaiKey,
  FETTLE_TEST_RETRY_MS: "2",
  FETTLE_TEST_PART_BYTES: "100000",
});

const [baseA, baseB, lora, strong] = [tinyBase(0), tinyBase(100), tinyLora(0.5), tinyLora(1)];

/** Two bases and two LoRAs behind redirects across hosts; connections drop now and then. */
function serveModels(host: ModelHost): void {
  const linked = { "x-linked-etag": `"${hashOf(baseA)}"`, "x-linked-size": String(baseA.length) };
  host.serve("/owner/base/resolve/main/a.safetensors", redirectTo(host.url("/cdn/a", "127.0.0.2"), linked));
  let sent = 0;
  host.serve("/cdn/a", sendRanges(baseA, { dropAfter: () => (++sent % 3 === 0 ? 30_000 : undefined) }));
  host.serve(
    "/api/v1/model-versions/42",
    (_q, r) => void r.end(JSON.stringify({ files: [{ name: "b.safetensors", primary: true, hashes: { SHA256: hashOf(baseB) } }] })),
  );
  host.serve("/api/download/models/42", (request, response, self) => {
    if (request.headers.authorization !== `Bearer ${civitaiKey}`) return void response.writeHead(401).end();
    redirectTo(self.url("/bucket/b", "127.0.0.2"))(request, response, self);
  });
  host.serve("/bucket/b", baseB);
  host.serve("/style.safetensors", lora);
  host.serve("/moved", redirectTo(host.url("/strong.safetensors", "localhost")));
  host.serve("/strong.safetensors", strong);
}

const recipe = (host: ModelHost) => ({
  one: { checkpoint: "hf:owner/base/a.safetensors@main", loras: [{ path: host.url("/style.safetensors"), scale: 1 }] },
  two: { checkpoint: "civitai:42", loras: [{ path: host.url("/style.safetensors"), scale: 0.5 }, host.url("/moved")] },
  three: { checkpoint: "hf:owner/base/a.safetensors", loras: [{ path: host.url("/style.safetensors"), unet: -1, sha256: hashOf(lora) }] },
});

test("three templates over two bases, from hosts that redirect and drop connections; then there is nothing to do", async () => {
  await using host = await startModelHost();
  using cli = openMergeCli(envOf(host));
  serveModels(host);
  writeFileSync(join(cli.folder, "templates.json"), JSON.stringify({ templates: recipe(host) }));
  // A Python that notes what it was given: no token may be among it.
  const spy = join(cli.folder, "python");
  writeFileSync(spy, `#!/bin/sh\n{ env; printf '%s\\n' "$@"; } >>"${join(cli.folder, "given")}"\nexec "${process.env["FETTLE_PYTHON"] ?? "python3"}" "$@"\n`);
  chmodSync(spy, 0o755);
  const { code, err, out } = await cli.run(["templates.json", "--python", spy, "--json"]);
  assert.equal(code, 0, err);
  const merged = (name: string) => readTensor(join(cli.folder, "merged", `${name}.safetensors`), weight);
  assert.deepEqual(merged("one"), [2, 12, 5, 24]);
  assert.deepEqual(merged("two"), [103.5, 127, 108, 154]);
  assert.deepEqual(merged("three"), [0, -8, 1, -16]);
  assert.deepEqual(readdirSync(join(cli.folder, "merged")).toSorted(), ["one.safetensors", "three.safetensors", "two.safetensors"]);

  const given = readFileSync(join(cli.folder, "given"), "utf8");
  for (const secret of [hfToken, civitaiKey]) assert.ok(![out, err, given].some((text) => text.includes(secret)));
  for (const { host: name, path, authorization } of host.requests) {
    const own = path.startsWith("/owner/") ? `Bearer ${hfToken}` : path.startsWith("/api/") ? `Bearer ${civitaiKey}` : undefined;
    assert.equal(authorization, own, `${name}${path}`);
  }
  // Each base once: what was asked for is the file, the two first looks and what the drops cost.
  const starts = host.requests.filter(({ path, range }) => path === "/bucket/b" && range?.startsWith("bytes=0-") && range !== "bytes=0-1023");
  assert.equal(starts.length, 1);

  const before = host.requests.length;
  rmSync(join(cli.folder, "state"), { recursive: true });
  const again = await cli.run(["templates.json", "--json"], { env: { FETTLE_PYTHON: "/no/such/python" } });
  assert.equal(again.code, 0, again.err);
  assert.ok((JSON.parse(again.out) as { merges: { upToDate?: boolean }[] }).merges.every(({ upToDate }) => upToDate));
  assert.equal(host.requests.length, before);
});

test("bad sources say why; the good templates are merged all the same", async () => {
  await using host = await startModelHost();
  using cli = openMergeCli(envOf(host));
  serveModels(host);
  const good = host.url("/style.safetensors");
  host.serve("/login", (_q, r) => void r.writeHead(200, { "content-type": "text/html" }).end("<html><title>Sign in</title></html>"));
  host.serve("/cut.safetensors", baseA.subarray(0, 200_000));
  host.serve("/lies.safetensors", (_q, r) => void r.writeHead(200, { "content-length": 500_000 }).write(baseA.subarray(0, 100_000), () => r.destroy()));
  host.serve("/api/v1/model-versions/43", (_q, r) => void r.writeHead(401).end());
  const bad: Record<string, [checkpoint: unknown, code: string]> = {
    html: [host.url("/login"), "model.wrong-content"],
    cut: [host.url("/cut.safetensors"), "model.wrong-length"],
    lies: [host.url("/lies.safetensors"), "model.unreachable"],
    hash: [{ path: host.url("/style.safetensors"), sha256: "0".repeat(64) }, "model.wrong-hash"],
    key: ["civitai:43", "model.unauthorized"],
    gone: ["hf:owner/base/none.safetensors", "model.not-found"],
    local: ["none.safetensors", "model.not-found"],
  };
  const templates = { good: recipe(host).one, ...Object.fromEntries(Object.entries(bad).map(([name, [checkpoint]]) => [name, { checkpoint, loras: [good] }])) };
  writeFileSync(join(cli.folder, "templates.json"), JSON.stringify(templates));
  const { code, out, err } = await cli.run(["templates.json", "--json"]);
  assert.equal(code, 1);
  const told = JSON.parse(out) as { merges: { name: string }[]; failed: { name: string; error: { code: string } }[] };
  assert.deepEqual(
    told.merges.map(({ name }) => name),
    ["good"],
  );
  assert.deepEqual(
    Object.fromEntries(told.failed.map(({ name, error }) => [name, error.code])),
    Object.fromEntries(Object.entries(bad).map(([name, [, why]]) => [name, why])),
  );
  assert.match(err, /web page \(HTML\)/);
  assert.deepEqual(readdirSync(join(cli.folder, "merged")), ["good.safetensors"]);
});

test("a dry run fetches nothing and says what it would; --only chooses", async () => {
  await using host = await startModelHost();
  using cli = openMergeCli(envOf(host));
  serveModels(host);
  writeFileSync(join(cli.folder, "templates.yaml"), JSON.stringify(recipe(host)));
  const { code, out, err } = await cli.run(["templates.yaml", "--only", "two", "--dry-run", "--json"]);
  assert.equal(code, 0, err);
  const [report] = (JSON.parse(out) as { merges: { name: string; toFetch: { source: string; sizeBytes: number }[] }[] }).merges;
  assert.deepEqual(
    report?.toFetch.map(({ source, sizeBytes }) => [source, sizeBytes]),
    [
      ["civitai:42", baseB.length],
      [host.url("/style.safetensors"), lora.length],
      [host.url("/moved"), strong.length],
    ],
  );
  assert.equal(existsSync(join(cli.folder, "state/models/blobs")), false);
  const wrong = await cli.run(["templates.yaml", "--only", "four"]);
  assert.deepEqual([wrong.code, /Templates here: one, two, three/.test(wrong.err)], [2, true]);
});

test("a full disk, loops of links and strange places are told plainly and leave nothing", async () => {
  await using host = await startModelHost();
  using cli = openMergeCli(envOf(host));
  serveModels(host);
  const at = (name: string) => join(cli.folder, name);
  const big = tinyBase(0, 3_000_000);
  host.serve("/big.safetensors", big);
  writeFileSync(at("base.safetensors"), big);
  writeFileSync(at("lora.safetensors"), lora);
  symlinkSync(at("loop2"), at("loop1"));
  symlinkSync(at("loop1"), at("loop2"));
  writeFileSync(at("file"), "");
  const failing = async (args: readonly string[], through?: readonly string[]) => {
    const { code, out, err } = await cli.run([...args, "--json"], through ? { through } : {});
    return [code, (JSON.parse(out || "{}") as { error?: { code: string } }).error?.code ?? err];
  };
  // A limit on the size of files is the disk that everybody has: bytes past it fail as those past a quota do.
  const small = ["sh", "-c", 'trap "" XFSZ; ulimit -f 2000; exec "$0" "$@"'];
  assert.deepEqual(await failing(["--base", host.url("/big.safetensors"), "--lora", "lora.safetensors", "--out", "x.safetensors"], small), [
    1,
    "model.no-space",
  ]);
  assert.deepEqual(await failing(["--base", "base.safetensors", "--lora", "lora.safetensors", "--out", "x.safetensors"], small), [1, "merge.no-space"]);
  const merge = (base: string, out: string) => failing(["--base", base, "--lora", "lora.safetensors", "--out", out]);
  assert.deepEqual(await merge("loop1", "x.safetensors"), [1, "model.not-found"]);
  assert.deepEqual(await merge("base.safetensors", "loop1/x.safetensors"), [1, "merge.unwritable"]);
  assert.deepEqual(await merge("base.safetensors", "file/x.safetensors"), [1, "merge.unwritable"]);
  assert.deepEqual(await merge("base.safetensors", "/proc/fettle/x.safetensors"), [1, "merge.unwritable"]);
  assert.deepEqual(await failing(["--base", "hf:owner/base/a.safetensors", "--lora", "lora.safetensors", "--out", "x", "--cache", "file"]), [
    1,
    "model.cannot-store",
  ]);
  assert.deepEqual(
    readdirSync(cli.folder).filter((name) => name.includes("x.safetensors")),
    [],
  );
});

test("SIGINT ends it with 130; the next run goes on with what was fetched", async () => {
  await using host = await startModelHost();
  using cli = openMergeCli({ ...envOf(host), FETTLE_TEST_PART_BYTES: "20000" });
  serveModels(host);
  const { child, ended } = cli.start(["--base", "hf:owner/base/a.safetensors", "--lora", host.url("/style.safetensors"), "--out", "merged.safetensors"]);
  // Two first looks; of the six parts asked for at once one arrives, and its connection asks for a seventh when it is written.
  let asked = 0;
  host.serve("/cdn/a", (request, response, self) => {
    asked += 1;
    if (asked <= 3) sendRanges(baseA)(request, response, self);
    else if (asked === 2 + 7) child.kill("SIGINT");
  });
  const first = await ended;
  assert.equal(first.code, 130, `${first.signal} ${first.err}`);
  assert.deepEqual(
    readdirSync(cli.folder).filter((name) => name.includes("merged")),
    [],
  );
  assert.deepEqual(readdirSync(join(cli.folder, "state/models/locks")), []);
  host.serve("/cdn/a", baseA);
  const before = host.requests.length;
  const second = await cli.run(["--base", "hf:owner/base/a.safetensors", "--lora", host.url("/style.safetensors"), "--out", "merged.safetensors"]);
  assert.equal(second.code, 0, second.err);
  const parts = host.requests.slice(before).filter(({ path, range }) => path === "/cdn/a" && range !== "bytes=0-1023");
  assert.equal(parts.length, Math.ceil(baseA.length / 20_000) - 1, parts.map(({ range }) => range).join(" "));
  assert.deepEqual(readTensor(join(cli.folder, "merged.safetensors"), weight), [2, 12, 5, 24]);
});

test("--config-dir and a recipe's configDir reach the helper", async () => {
  using cli = openMergeCli();
  const base = tensorFile({ "double_blocks.0.img_attn.proj.weight": { shape: [2, 2], values: [1, 2, 3, 4] } });
  writeFileSync(join(cli.folder, "flux.safetensors"), base);
  writeFileSync(join(cli.folder, "templates.json"), JSON.stringify({ a: { checkpoint: "flux.safetensors", format: "diffusers", configDir: "other" } }));
  for (const args of [["--base", "flux.safetensors", "--out", "out", "--output-format", "diffusers", "--config-dir", "other"], ["templates.json"]]) {
    const { code, err } = await cli.run(args);
    assert.equal(code, 1);
    assert.match(err, /other is no diffusers directory of a Flux model/);
  }
  assert.equal((await cli.run(["templates.json", "--config-dir", "other"])).code, 2);
});

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { type FetchEvent, fetchModel, type WantedModel } from "../../src/models/fetch-model.ts";
import { parseModelSource, type ModelSource } from "../../src/models/model-source.ts";
import type { ModelSettings } from "../../src/models/settings.ts";
import { hashOf, makeSafetensors, redirectTo, sendRanges, startModelHost, testSettings } from "./model-host.ts";

const { signal } = new AbortController();

function source(text: string): ModelSource {
  const parsed = parseModelSource(text);
  if (parsed.kind === "bad") throw new Error(parsed.reason);
  return parsed;
}

const fetchIt = (text: string, settings: ModelSettings, more: Partial<WantedModel> = {}, onEvent: (event: FetchEvent) => void = () => undefined) =>
  fetchModel({ source: source(text), ...more }, settings, { signal, onEvent });

async function errorOf(work: Promise<unknown>): Promise<FettleError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof FettleError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

const model = makeSafetensors(600_000);

test("a file comes over several connections, whole, and the second time from the cache", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  host.serve("/style.safetensors", model);
  const first = await fetchIt(host.url("/style.safetensors"), rig.settings);
  assert.deepEqual([first.from, first.sha256, first.sizeBytes], ["network", hashOf(model), model.length]);
  assert.ok(readFileSync(first.path).equals(model));
  assert.ok(first.path.endsWith(`blobs/${hashOf(model)}/style.safetensors`));
  assert.equal(statSync(first.path).mode & 0o777, 0o444);
  const ranges = host.requests.map(({ range }) => range);
  // A first look, and 13 parts of 50,000 bytes.
  assert.equal(ranges.length, 14, ranges.join(" "));
  const second = await fetchIt(host.url("/style.safetensors"), rig.settings);
  assert.deepEqual([second.from, second.path], ["cache", first.path]);
  // Its ETag was asked for, its bytes were not.
  assert.equal(host.requests.length, 15);
  assert.deepEqual(readdirSync(join(rig.settings.cacheDir, "partial")), []);
  assert.deepEqual(readdirSync(join(rig.settings.cacheDir, "locks")), []);
});

test("with its hash given, no question is asked a second time, whatever the source", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  host.serve("/a.safetensors", model);
  const sha256 = hashOf(model);
  await fetchIt(host.url("/a.safetensors"), rig.settings, { sha256 });
  const before = host.requests.length;
  const second = await fetchIt(host.url("/other-name.safetensors"), rig.settings, { sha256 });
  assert.deepEqual([second.from, host.requests.length], ["cache", before]);
});

test("dropped connections go on where they broke; a later run goes on where the former one stopped", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  let drops = 0;
  host.serve("/a.safetensors", sendRanges(model, { dropAfter: () => (drops++ % 3 === 0 ? 20_000 : undefined) }));
  const retries: string[] = [];
  const fetched = await fetchIt(host.url("/a.safetensors"), rig.settings, {}, (event) => void (event.type === "retry" && retries.push(event.reason)));
  assert.equal(fetched.sha256, hashOf(model));
  assert.match(retries[0] ?? "", /^the connection to 127\.0\.0\.1 broke off after \d+ of 50000 bytes$/);

  using other = testSettings(host);
  const one = other.with({ connections: 1 });
  let left = 4;
  host.serve("/b.safetensors", sendRanges(model, { dropAfter: () => (left-- > 0 ? undefined : 0) }));
  const error = await errorOf(fetchIt(host.url("/b.safetensors"), one));
  assert.equal(error.code, "model.unreachable");
  assert.match(error.message, /broke off after 0 of \d+ bytes, 4 times in a row\.$/);
  host.serve("/b.safetensors", model);
  let resumed = 0;
  const again = await fetchIt(host.url("/b.safetensors"), one, {}, (event) => void (event.type === "found" && (resumed = event.resumedBytes)));
  assert.equal(again.sha256, hashOf(model));
  // Of four parts for the one connection.
  assert.equal(resumed, 3 * Math.ceil(model.length / 4));
});

test("a file that was replaced meanwhile is begun anew, never mixed", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  const newer = makeSafetensors(600_000, 2);
  let asked = 0;
  host.serve("/a.safetensors", (request, response, self) => sendRanges(++asked < 5 ? model : newer)(request, response, self));
  const fetched = await fetchIt(host.url("/a.safetensors"), rig.with({ connections: 1 }));
  assert.equal(fetched.sha256, hashOf(newer));
  // And a cached file whose source has a new version is fetched again.
  host.serve("/a.safetensors", model);
  assert.equal((await fetchIt(host.url("/a.safetensors"), rig.settings)).sha256, hashOf(model));
});

test("servers without parts, and without a length, work", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  let tries = 0;
  host.serve("/plain.safetensors", (_request, response) => {
    response.writeHead(200, { "content-length": model.length });
    if (++tries === 2) response.write(model.subarray(0, 100_000), () => response.destroy());
    else response.end(model);
  });
  assert.equal((await fetchIt(host.url("/plain.safetensors"), rig.settings)).sha256, hashOf(model));
  assert.equal(tries, 3);
  host.serve("/chunked.safetensors", (_request, response) => {
    response.writeHead(200);
    response.write(model.subarray(0, 300_000), () => response.end(model.subarray(300_000)));
  });
  assert.equal((await fetchIt(host.url("/chunked.safetensors"), rig.settings)).sha256, hashOf(model));
});

test("what is no model is refused with its cause, and nothing of it stays", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  const cases: Record<string, [answer: Parameters<typeof host.serve>[1], code: string, words: RegExp]> = {
    login: [
      (_q, r) => void r.writeHead(200, { "content-type": "text/html" }).end("<!DOCTYPE html><title>Log in</title>"),
      "model.wrong-content",
      /web page \(HTML\)/,
    ],
    json: [(_q, r) => void r.writeHead(200).end('{"error":"Unauthorized"}'), "model.wrong-content", /gives JSON/],
    lfs: [Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"), "model.wrong-content", /git-lfs pointer/],
    empty: [(_q, r) => void r.writeHead(200, { "content-length": 0 }).end(), "model.wrong-content", /empty file/],
    noise: [Buffer.alloc(5000, 7), "model.wrong-content", /no safetensors file/],
    cut: [model.subarray(0, 400_000), "model.wrong-length", /has 400000 bytes, its header says 600\d+/],
    long: [Buffer.concat([model, Buffer.alloc(10)]), "model.wrong-length", /its header says/],
    missing: [(_q, r) => void r.writeHead(404).end(), "model.not-found", /HTTP 404/],
    teapot: [(_q, r) => void r.writeHead(418).end(), "model.unreachable", /HTTP 418/],
    busy: [(_q, r) => void r.writeHead(503).end(), "model.unreachable", /HTTP 503, 4 times in a row/],
    packed: [(_q, r) => void r.writeHead(200, { "content-encoding": "gzip" }).end("x"), "model.wrong-content", /packed/],
    lying: [(_q, r) => void r.writeHead(200, { "content-length": model.length + 50 }).write(model, () => r.destroy()), "model.unreachable", /broke off after/],
  };
  for (const [name, [answer, code, words]] of Object.entries(cases)) {
    host.serve(`/${name}.safetensors`, answer);
    const error = await errorOf(fetchIt(host.url(`/${name}.safetensors`), rig.settings));
    assert.equal(error.code, code, `${name}: ${error.message}`);
    assert.match(error.message, words, name);
  }
  host.serve("/a.safetensors", model);
  const wrong = await errorOf(fetchIt(host.url("/a.safetensors"), rig.settings, { sha256: "0".repeat(64) }));
  assert.equal(wrong.code, "model.wrong-hash");
  assert.equal(existsSync(join(rig.settings.cacheDir, "blobs")), false);
  assert.deepEqual(readdirSync(join(rig.settings.cacheDir, "partial")), []);
  assert.deepEqual(readdirSync(join(rig.settings.cacheDir, "locks")), []);
});

test("a silent server is left and asked again", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  let asked = 0;
  host.serve("/a.safetensors", (request, response, self) => {
    if (++asked !== 2) return sendRanges(model)(request, response, self);
    response.writeHead(206, { "content-range": `bytes 0-${model.length - 1}/${model.length}`, "content-length": model.length });
    response.write(model.subarray(0, 1000));
  });
  const retries: string[] = [];
  const settings = rig.with({ stallMs: 300, smallestPartBytes: 10_000_000 });
  const fetched = await fetchIt(host.url("/a.safetensors"), settings, {}, (event) => void (event.type === "retry" && retries.push(event.reason)));
  assert.deepEqual(retries, ["its server was silent for 0.3 s"]);
  assert.equal(fetched.sha256, hashOf(model));
  assert.equal(host.requests[2]?.range, `bytes=1000-${model.length - 1}`);
});

test("Hugging Face: the hash of the LFS object counts, redirects to the CDN lose the token", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  const token = "hf_secret_token";
  const linked = { "x-linked-etag": `"${hashOf(model)}"`, "x-linked-size": String(model.length), "x-repo-commit": "c0ffee" };
  host.serve("/owner/repo/resolve/main/unet/m.safetensors", redirectTo(host.url("/cdn/abc", "localhost"), linked));
  host.serve("/cdn/abc", redirectTo(host.url("/cdn2/abc")));
  host.serve("/cdn2/abc", model);
  const fetched = await fetchIt("hf:owner/repo/unet/m.safetensors", rig.with({ huggingface: { url: host.url(""), token } }));
  assert.equal(fetched.sha256, hashOf(model));
  assert.ok(fetched.path.endsWith("/m.safetensors"));
  for (const { path, authorization } of host.requests) assert.equal(authorization, path.startsWith("/owner/") ? `Bearer ${token}` : undefined, path);

  const bad = { "x-linked-etag": `"${"0".repeat(64)}"` };
  host.serve("/owner/repo/resolve/main/bad.safetensors", redirectTo(host.url("/cdn2/abc"), bad));
  assert.equal((await errorOf(fetchIt("hf:owner/repo/bad.safetensors", rig.settings))).code, "model.wrong-hash");
  const short = { "x-linked-size": "5" };
  host.serve("/owner/repo/resolve/main/short.safetensors", redirectTo(host.url("/cdn2/abc"), short));
  assert.equal((await errorOf(fetchIt("hf:owner/repo/short.safetensors", rig.settings))).code, "model.wrong-length");
});

test("Civitai: the API names file and hash, the key goes as a header to its host alone", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  const token = "civitai_secret_key";
  const files = [
    {
      id: 1,
      name: "pruned.safetensors",
      type: "Model",
      primary: true,
      metadata: { format: "SafeTensor", fp: "fp16" },
      hashes: { SHA256: hashOf(model).toUpperCase() },
    },
    { id: 2, name: "full.safetensors", type: "Model", metadata: { format: "SafeTensor", fp: "fp32" }, hashes: {} },
  ];
  host.serve("/api/v1/model-versions/77", (_q, r) => void r.end(JSON.stringify({ files })));
  host.serve("/api/download/models/77", (request, response, self) => {
    if (request.headers.authorization !== `Bearer ${token}`) return void response.writeHead(401).end('{"error":"Unauthorized"}');
    redirectTo(self.url("/bucket/x", "127.0.0.2"))(request, response, self);
  });
  host.serve("/bucket/x", (request, response, self) => {
    if (request.headers.authorization) return void response.writeHead(400).end();
    sendRanges(model)(request, response, self);
  });
  const anonymous = await errorOf(fetchIt("civitai:77", rig.settings));
  assert.deepEqual([anonymous.code, anonymous.hint], ["model.unauthorized", "Set CIVITAI_API_KEY to a key from your account's settings."]);
  const fetched = await fetchIt("civitai:77", rig.with({ civitai: { url: host.url(""), token } }));
  assert.equal(fetched.sha256, hashOf(model));
  assert.ok(fetched.path.endsWith("/pruned.safetensors"));
  assert.ok(host.requests.filter(({ host: name }) => name === "127.0.0.2").every(({ authorization }) => authorization === undefined));
  assert.equal((await errorOf(fetchIt("civitai:77?fp=bf16", rig.settings))).code, "model.not-found");
  assert.equal((await errorOf(fetchIt("civitai:78", rig.settings))).code, "model.not-found");
});

test("two at once fetch once", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  host.serve(
    "/api/v1/model-versions/5",
    (_q, r) => void r.end(JSON.stringify({ files: [{ name: "m.safetensors", primary: true, hashes: { SHA256: hashOf(model) } }] })),
  );
  host.serve("/api/download/models/5", model);
  const all = await Promise.all(Array.from({ length: 4 }, () => fetchIt("civitai:5", rig.settings)));
  assert.deepEqual(all.map(({ from }) => from).toSorted(), ["cache", "cache", "cache", "network"]);
  assert.equal(host.requests.filter(({ path }) => path.startsWith("/api/download")).length, 14);
});

test("local files are checked where they lie", async () => {
  await using host = await startModelHost();
  using rig = testSettings(host);
  const path = join(rig.settings.cacheDir, "m.safetensors");
  writeFileSync(path, model);
  assert.deepEqual(await fetchIt(path, rig.settings), { path, sizeBytes: model.length, from: "disk" });
  assert.equal((await fetchIt(path, rig.settings, { sha256: hashOf(model) })).sha256, hashOf(model));
  assert.equal((await errorOf(fetchIt(path, rig.settings, { sha256: "1".repeat(64) }))).code, "model.wrong-hash");
  assert.match((await errorOf(fetchIt(`${path}.no`, rig.settings))).message, /there is no such file/);
});

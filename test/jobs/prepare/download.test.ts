import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { download, type DownloadLimits } from "../../../src/jobs/prepare/download.ts";
import { type Answer, startTinyServer } from "../../doubles/tiny-server.ts";
import { makePng } from "../../fixtures/png.ts";
import { faultOf, prepare, requestOf, usualInputs } from "./rules.ts";

const png = makePng({ width: 20, height: 12, fill: (at) => at });
const open: DownloadLimits = { maxBytes: 1_000_000, timeoutMs: 20_000, silenceMs: 10_000, allowPrivate: true, allowHosts: [] };
const { signal } = new AbortController();
const local = { inputs: { ...usualInputs, allowPrivate: true } };

function sendPng(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/html", "content-length": png.length }).end(png);
}

const redirectTo =
  (location: string, status = 302): Answer =>
  (_request, response) =>
    void response.writeHead(status, { location }).end();

async function reasonOf(url: string, limits: Partial<DownloadLimits> = {}): Promise<string> {
  const result = await download(url, { ...open, ...limits }, { signal });
  return result.type === "failed" ? result.reason : `${result.bytes.length} bytes`;
}

/** Answers each connection with these bytes, and ends it when told to. */
async function startRawServer(answer: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const closed: Promise<void>[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    closed.push(new Promise((resolve) => void socket.on("close", resolve)));
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/x`,
    closed,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
}

test("private addresses are refused by default, in every notation and behind redirects", async () => {
  await using server = await startTinyServer((_request, response) => sendPng(response));
  const { port } = new URL(server.url);
  for (const host of [
    "127.0.0.1",
    "localhost",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",
    "169.254.169.254",
    "10.0.0.1",
  ]) {
    const reason = await reasonOf(`http://${host}:${port}/x.png`, { allowPrivate: false });
    assert.match(reason, /cannot be asked: it (?:is not a public address|leads to an address that is not public)$/, host);
  }
  assert.equal(server.seen.length, 0);
  // The first hop is allowed by name; where it leads is looked at anew.
  const targets = [`http://127.0.0.1:${port}/secret`, "http://169.254.169.254/latest/meta-data", `http://[::1]:${port}/`, `//127.0.0.1:${port}/`];
  for (const target of targets) {
    await using guide = await startTinyServer(redirectTo(target));
    const reason = await reasonOf(guide.url.replace("127.0.0.1", "localhost"), { allowPrivate: false, allowHosts: ["localhost"] });
    assert.match(reason, /it is not a public address$/, target);
  }
  assert.equal(server.seen.length, 0);
});

test("a file comes through redirects; its Host and path are what the URL says", async () => {
  await using server = await startTinyServer(({ path }, response) => {
    if (path === "/x.png?sig=a%20b") sendPng(response);
    else redirectTo(path === "/a" ? "/b" : "x.png?sig=a%20b", path === "/a" ? 308 : 303)({} as never, response);
  });
  const url = server.url.replace("127.0.0.1", "localhost");
  const result = await download(` ${url}/a#fragment `, open, { signal });
  assert.ok(result.type === "bytes" && result.bytes.equals(png));
  assert.deepEqual(
    server.seen.map(({ path }) => path),
    ["/a", "/b", "/x.png?sig=a%20b"],
  );
  for (const { headers, method } of server.seen) {
    assert.deepEqual([method, headers.host, headers["accept-encoding"], headers.authorization], ["GET", new URL(url).host, "identity", undefined]);
  }
});

test("redirects end after five, and lead to http and https alone", async () => {
  await using server = await startTinyServer(({ path }, response) => redirectTo(`${path}x`)({} as never, response));
  assert.equal(await reasonOf(`${server.url}/`), "it is redirected more than 5 times");
  assert.equal(server.seen.length, 6);
  for (const [location, reason] of [
    ["file:///etc/passwd", "only http and https are allowed"],
    ["gopher://127.0.0.1/x", "only http and https are allowed"],
    ["http://", "127.0.0.1 redirects to something that is no URL"],
  ] as const) {
    await using guide = await startTinyServer(redirectTo(location));
    assert.equal(await reasonOf(guide.url), reason);
  }
  await using nowhere = await startTinyServer((_request, response) => void response.writeHead(302).end());
  assert.equal(await reasonOf(nowhere.url), "127.0.0.1 redirects to nowhere");
});

test("a URL's credentials reach its own origin and no other, nor any message", async () => {
  await using other = await startTinyServer((_request, response) => sendPng(response));
  await using own = await startTinyServer(({ path }, response) =>
    redirectTo(path === "/1" ? "/2" : other.url.replace("//", "//sneaky:x@"))({} as never, response),
  );
  const result = await download(`${own.url.replace("//", "//me:p%40ss@")}/1`, open, { signal });
  assert.equal(result.type, "bytes");
  const basic = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
  assert.deepEqual(
    [...own.seen, ...other.seen].map(({ headers }) => headers.authorization),
    [basic, basic, undefined],
  );
  await using refusing = await startTinyServer((_request, response) => void response.writeHead(403).end("p@ss"));
  assert.equal(await reasonOf(`${refusing.url.replace("//", "//me:p%40ss@")}/secret?key=abc`), "127.0.0.1 answers with HTTP 403");
});

test("what is too large is not read to its end, declared or not", async () => {
  const reason = "it is larger than 1000 bytes (jobs.inputs.maxBytes)";
  await using declared = await startTinyServer((_request, response) => void response.writeHead(200, { "content-length": 5_000_000_000 }).flushHeaders());
  assert.equal(await reasonOf(declared.url, { maxBytes: 1000 }), reason);
  await using endless = await startRawServer((socket) => {
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    const more = () => void (socket.writable && socket.write(`400\r\n${"x".repeat(1024)}\r\n`, () => setImmediate(more)));
    more();
  });
  assert.equal(await reasonOf(endless.url, { maxBytes: 1000 }), reason);
  await Promise.all(endless.closed);
});

test("packed answers are refused: a bomb is never unpacked", async () => {
  const bomb = gzipSync(Buffer.alloc(10_000_000));
  await using server = await startTinyServer(
    (_request, response) => void response.writeHead(200, { "content-encoding": "gzip", "content-length": bomb.length }).end(bomb),
  );
  assert.equal(await reasonOf(server.url), "127.0.0.1 sends it packed (gzip)");
});

test("a length that is a lie is noticed", async () => {
  const head = (length: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
  await using short = await startRawServer((socket) => void socket.end(`${head(1000)}only this`));
  assert.match(await reasonOf(short.url), /^the connection (?:to 127\.0\.0\.1 broke off|failed \(.*\))$/);
  await using chunked = await startRawServer((socket) => void socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
  assert.match(await reasonOf(chunked.url), /^the connection (?:to 127\.0\.0\.1 broke off|failed \(.*\))$/);
  await using long = await startRawServer((socket) => void socket.end(`${head(4)}four and much more`));
  assert.match(await reasonOf(long.url), /^(?:4 bytes|the connection .*|its server does not answer in HTTP)$/);
  await using noise = await startRawServer((socket) => void socket.end("\0\x01\x02 this is no HTTP\r\n\r\n"));
  assert.match(await reasonOf(noise.url), /^(?:its server does not answer in HTTP|the connection failed .*)$/);
});

test("a server that is silent or drips is left", async () => {
  await using silent = await startRawServer(() => {});
  assert.match(await reasonOf(silent.url, { silenceMs: 50 }), /^its server is silent for 50 ms$/);
  await using stuck = await startRawServer((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"));
  assert.match(await reasonOf(stuck.url, { silenceMs: 50 }), /^its server is silent for 50 ms$/);
  await using dripping = await startRawServer((socket) => {
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    const drip = setInterval(() => socket.write("x"), 10);
    socket.on("close", () => clearInterval(drip));
  });
  assert.match(await reasonOf(dripping.url, { timeoutMs: 300 }), /^it takes longer than 300 ms \(jobs\.inputs\.timeout\)$/);
  await using dripsHead = await startRawServer((socket) => {
    const drip = setInterval(() => socket.write("X"), 10);
    socket.on("close", () => clearInterval(drip));
  });
  assert.match(await reasonOf(dripsHead.url, { timeoutMs: 300 }), /^(?:it takes longer than 300 ms|its server does not answer in HTTP|the connection failed)/);
  await Promise.all([silent, stuck, dripping, dripsHead].flatMap(({ closed }) => closed));
});

test("an abort ends a download at once, and its connection", async () => {
  await using silent = await startRawServer((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"));
  const gone = new AbortController();
  const running = download(silent.url, open, { signal: gone.signal });
  while (silent.closed.length === 0) await new Promise((resolve) => setImmediate(resolve));
  gone.abort(new Error("called off"));
  await assert.rejects(running, /called off/);
  await Promise.all(silent.closed);
});

test("a job's images come from their URLs, each URL asked once, and the body is otherwise the same", async () => {
  await using server = await startTinyServer((_request, response) => sendPng(response));
  const [one, two] = [`${server.url}/1.png`, `${server.url}/2.png`];
  const body = {
    prompt: `not ${one}`,
    init_images: [one, png.toString("base64"), two],
    mask: one,
    alwayson_scripts: { controlnet: { args: [{ image: two, weight: 1 }, { input_image: { image: one, mask: null } }, one, "text"] } },
  };
  const before = JSON.stringify(body);
  const { input, warnings } = await requestOf(body, local);
  const data = png.toString("base64");
  assert.equal(JSON.stringify(body), before);
  assert.equal(JSON.stringify(input), before.replaceAll(`"${one}"`, `"${data}"`).replaceAll(`"${two}"`, `"${data}"`));
  assert.deepEqual([warnings, server.seen.map(({ path }) => path).sort()], [[], ["/1.png", "/2.png"]]);
  const sdxl = await requestOf({ prompt: "a", refiner_inference_steps: 4, image_url: one }, local);
  assert.deepEqual([sdxl.input["init_images"], sdxl.input["width"], sdxl.input["height"]], [[data], 16, 8]);
  const workflow = { workflow: {}, images: [{ name: "a.png", image: one }] };
  assert.deepEqual((await requestOf(workflow, { ...local, kind: "comfyui" })).input, { workflow: {}, images: [{ name: "a.png", image: data }] });
});

test("what cannot be fetched is a fault of its field", async () => {
  await using server = await startTinyServer(({ path }, response) => {
    if (path === "/text") response.end("<html>no image</html>");
    else if (path === "/500") response.writeHead(500).end();
    else if (path === "/404") response.writeHead(404).end();
    else sendPng(response);
  });
  const at = (path: string) => `${server.url}${path}`;
  const inputs = local.inputs;
  assert.match(await faultOf({ image_url: at("/text") }, local), /^input\.image_url: what its URL leads to is no image /);
  assert.match(await faultOf({ init_images: ["", at("/404")] }, local), /^input\.init_images\[1\]: cannot be fetched: 127\.0\.0\.1 answers with HTTP 404\.$/);
  assert.match(await faultOf({ mask: at("/x") }), /^input\.mask: cannot be fetched: 127\.0\.0\.1 cannot be asked: it is not a public address\.$/);
  assert.match(await faultOf({ mask: at("/x") }, { inputs: { ...inputs, urls: false } }), /^input\.mask: URLs are not allowed here \(jobs\.inputs\.urls\)/);
  assert.match(
    await faultOf({ init_images: [at("/1"), at("/2")] }, { inputs: { ...inputs, maxFiles: 1 } }),
    /^input\.init_images\[0\]: the job names 2 files, 1 are allowed/,
  );
  assert.match(await faultOf({ init_images: [at("/1"), at("/2")] }, { ...local, maxInput: png.length + 1 }), /together are larger than/);
  assert.match(await faultOf({ mask: at("/x") }, { inputs: { ...inputs, maxPixels: 100 } }), /^input\.mask: its 20x12 pixels are more than 100/);
  const asked = server.seen.length;
  const { request } = await prepare({ mask: at("/500") }, local);
  assert.ok(request.type === "invalid" && request.failure.code === "job.input-unreachable");
  assert.equal(server.seen.length, asked + 2);
});

test("a job that is called off while its inputs come is no longer prepared, and no fault of its own", async () => {
  await using silent = await startRawServer(() => {});
  const gone = new AbortController();
  const running = prepare({ mask: silent.url }, { ...local, signal: gone.signal });
  while (silent.closed.length === 0) await new Promise((resolve) => setImmediate(resolve));
  gone.abort();
  const { prepared, request } = await running;
  assert.equal(prepared.type, "prepared");
  assert.ok(request.type === "invalid" && request.failure.code === "job.cancelled");
});

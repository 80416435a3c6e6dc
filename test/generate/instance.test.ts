import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { targetThere } from "../../src/generate/ask-instance.ts";
import { noisePng } from "../fixtures/noise-png.ts";

const png = noisePng(4096);
const base64 = png.toString("base64");
const root = mkdtempSync(join(tmpdir(), "fettle-instance-"));
after(() => rmSync(root, { recursive: true, force: true }));
const config = { jobs: { blackImages: "off" } } as unknown as Parameters<typeof targetThere>[0]["config"];
let count = 0;

type Route = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A job API that answers as it is told: "METHOD /path" → answers in turn, the last one again and again. */
async function serve(routes: Readonly<Record<string, readonly Route[]>>) {
  const asked: { route: string; key: string | undefined; body: string }[] = [];
  const turns = new Map<string, number>();
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const route = `${request.method} ${(request.url ?? "").replace(/generate-[0-9a-f-]+/, "ID")}`;
      asked.push({ route, key: request.headers.authorization, body });
      const answers = routes[route] ?? [];
      const turn = turns.get(route) ?? 0;
      turns.set(route, turn + 1);
      const answer = answers[Math.min(turn, answers.length - 1)];
      if (answer) answer(request, response, body);
      else response.writeHead(404).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    asked,
    count: (route: string) => asked.filter((one) => one.route === route).length,
    [Symbol.dispose]: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const json =
  (value: object, status = 200, headers: Record<string, string> = {}): Route =>
  (_request, response) =>
    void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
const cut: Route = (request) => void request.socket.destroy();
const accept: Route = (_request, response, body) => json({ id: (JSON.parse(body) as { id: string }).id, status: "IN_QUEUE" })(_request, response, body);
const done = (output: unknown): Route => json({ id: "x", status: "COMPLETED", output, executionTime: 12 });
const health = [json({ jobs: {}, workers: { ready: 3, idle: 1, running: 2 } })];

async function ask(url: string, options: { sentAs?: string; onSent?: (id: string) => void; signal?: AbortSignal; apiKey?: string } = {}) {
  const signal = options.signal ?? AbortSignal.timeout(30_000);
  const dir = join(root, String(++count));
  mkdirSync(dir);
  const target = await targetThere({ url, apiKey: options.apiKey ?? "", config, signal });
  const made = await target.run({ id: "mine", input: { prompt: "x" }, extra: { webhook: "w" } }, { dir, ...options, signal });
  return { target, made, files: made.output.images.map(({ path }) => readFileSync(path ?? "")) };
}

const failsWith = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof FettleError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  return true;
};

test("a job goes out with its key, an id of its own and what stood beside its input", async () => {
  using api = await serve({
    "GET /health": health,
    "POST /run": [accept],
    "GET /status/ID": [json({ id: "x", status: "IN_PROGRESS" }), done({ images: [base64] })],
  });
  const ids: string[] = [];
  const { target, made, files } = await ask(api.url, { apiKey: "k", onSent: (id) => ids.push(id) });
  assert.deepEqual(files, [png]);
  assert.deepEqual([target.slots, made.engineMs], [3, 12]);
  const { body, key } = api.asked.find(({ route }) => route === "POST /run") ?? {};
  assert.deepEqual([JSON.parse(body ?? ""), key], [{ webhook: "w", id: ids[0], input: { prompt: "x" } }, "Bearer k"]);
});

for (const [what, make] of [
  ["data URIs", () => ({ images: [`data:image/png;base64,${base64}`] })],
  ["base64 with line breaks", () => ({ images: [base64.replace(/(.{76})/g, "$1\n")] })],
  ["worker-comfyui's objects", () => ({ images: [{ filename: "a.png", type: "base64", data: base64 }] })],
  ["worker-sdxl's image", () => ({ image: base64, seed: 4 })],
  ["a bare list", () => [base64]],
  ["a URL", (url: string) => ({ images: [`${url}/bucket/a.png?X-Signature=secret`] })],
  ["worker-comfyui's URL", (url: string) => ({ images: [{ filename: "a.png", type: "s3_url", data: `${url}/bucket/a.png?X-Signature=secret` }] })],
] as const) {
  test(`images as ${what}`, async () => {
    const flaky: Route[] = [json({}, 503), (_request, response) => void response.writeHead(200, { "content-type": "image/png" }).end(png)];
    using bucket = await serve({ "GET /bucket/a.png?X-Signature=secret": flaky });
    using api = await serve({ "GET /health": health, "POST /run": [accept], "GET /status/ID": [done(make(bucket.url))] });
    assert.deepEqual((await ask(api.url, { apiKey: "k" })).files, [png]);
    assert.ok(
      bucket.asked.every(({ key }) => key === undefined),
      "the key is for the job API alone",
    );
  });
}

test("a link that has expired fails its job, and its signature is in no message", async () => {
  using bucket = await serve({});
  using api = await serve({ "GET /health": health, "POST /run": [accept], "GET /status/ID": [done({ images: [`${bucket.url}/a.png?X-Signature=secret`] })] });
  await assert.rejects(ask(api.url), (error) => failsWith("source.unreachable", /\/a\.png: HTTP 404/)(error) && !/secret/.test((error as Error).message));
});

for (const [what, output] of [
  ["no image", { images: [] }],
  ["a file that is none", { images: [Buffer.from("hello there, no image").toString("base64")] }],
  ["nothing", null],
  ["text", "sorry"],
] as const) {
  test(`${what} for an output is a failure`, async () => {
    using api = await serve({ "GET /health": health, "POST /run": [accept], "GET /status/ID": [done(output)] });
    await assert.rejects(ask(api.url), FettleError);
  });
}

test("503 and 429 are waited for, as long as Retry-After says", async () => {
  const busy = json({ error: "Cannot accept the job: full.", code: "job.queue-full" }, 503, { "retry-after": "0" });
  using api = await serve({
    "GET /health": health,
    "POST /run": [busy, json({}, 429, { "retry-after": "Thu, 01 Jan 1970 00:00:00 GMT" }), accept],
    "GET /status/ID": [done({ images: [base64] })],
  });
  await ask(api.url);
  assert.equal(api.count("POST /run"), 3);
});

test("a connection that breaks is no second job: it is sent again under the same id", async () => {
  using api = await serve({ "GET /health": health, "POST /run": [cut, accept], "GET /status/ID": [cut, done({ images: [base64] })] });
  await ask(api.url);
  const ids = api.asked.filter(({ route }) => route === "POST /run").map(({ body }) => (JSON.parse(body) as { id: string }).id);
  assert.ok(ids.length >= 2);
  assert.equal(new Set(ids).size, 1);
});

test("a job that a former run sent is waited for, not sent again; one that is unknown there is", async () => {
  using api = await serve({
    "GET /health": health,
    "POST /run": [accept],
    "GET /status/ID": [done({ images: [base64] })],
    "GET /status/old": [done({ images: [base64] })],
  });
  await ask(api.url, { sentAs: "old" });
  assert.equal(api.count("POST /run"), 0);
  await ask(api.url, { sentAs: "gone" });
  assert.equal(api.count("POST /run"), 1);
});

test("a job that is called off is cancelled there", async () => {
  const stop = new AbortController();
  const running: Route = (request, response, body) => {
    json({ id: "x", status: "IN_PROGRESS" })(request, response, body);
    stop.abort();
  };
  using api = await serve({ "GET /health": health, "POST /run": [accept], "GET /status/ID": [running], "POST /cancel/ID": [json({})] });
  await assert.rejects(ask(api.url, { signal: stop.signal }));
  assert.equal(api.count("POST /cancel/ID"), 1);
});

test("before any job: nobody there, a wrong key, a redirect", async () => {
  await assert.rejects(ask("http://127.0.0.1:9"), failsWith("supervise.no-instance", /Cannot reach http:\/\/127\.0\.0\.1:9/));
  using locked = await serve({ "GET /health": [json({}, 401)] });
  await assert.rejects(ask(locked.url), failsWith("job.unauthorized", /wants a key/));
  await assert.rejects(ask(locked.url, { apiKey: "k" }), failsWith("job.unauthorized", /does not take this key/));
  await assert.rejects(ask(locked.url.replace("//", "//me:secret@")), failsWith("cli.bad-value", /^(?!.*secret)/));
  using moved = await serve({ "GET /health": [(_request, response) => void response.writeHead(302, { location: "http://127.0.0.1:9/" }).end()] });
  await assert.rejects(ask(moved.url), FettleError);
});

test("another program at the port, and what the instance says of a bad job", async () => {
  using page = await serve({ "POST /run": [(_request, response) => void response.writeHead(200).end("<html>")] });
  await assert.rejects(ask(page.url), failsWith("source.unreachable", /no job API/));
  using picky = await serve({ "POST /run": [json({ error: "Cannot run: steps.", code: "job.invalid", hint: "h", path: "input.steps" }, 422)] });
  await assert.rejects(
    ask(picky.url),
    (error) => failsWith("job.invalid", /^Cannot run: steps\.$/)(error) && (error as FettleError).where?.path === "input.steps",
  );
  using failing = await serve({
    "POST /run": [accept],
    "GET /status/ID": [
      json({ id: "x", status: "FAILED", error: "engine.failed: It broke. Read the engine's log: `fettle service logs NAME`.", errorCode: "engine.failed" }),
    ],
  });
  await assert.rejects(ask(failing.url), failsWith("engine.failed", /^It broke\.$/));
});

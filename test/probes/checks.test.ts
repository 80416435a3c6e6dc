import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Ending } from "../../src/events/event.ts";
import { execCheck } from "../../src/probes/exec.ts";
import { fileCheck } from "../../src/probes/file.ts";
import { httpCheck } from "../../src/probes/http.ts";
import { logLineCheck } from "../../src/probes/log-line.ts";
import { tcpCheck } from "../../src/probes/tcp.ts";
import { commandRunner } from "../../src/supervise/run-command.ts";

const never = new AbortController().signal;
const env = { PATH: process.env["PATH"] ?? "" };

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

test("http: 2xx passes, anything else is refused with the reason", async () => {
  let status = 204;
  const server = createServer((_, response) => response.writeHead(status).end());
  const port = await listen(server);
  const check = httpCheck(`http://127.0.0.1:${port}/sdapi/v1/sd-models`);
  assert.deepEqual(await check({ signal: never }), { ok: true });
  status = 503;
  assert.deepEqual(await check({ signal: never }), { ok: false, reason: "it answers 503", listening: true });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.deepEqual(await check({ signal: never }), { ok: false, reason: "connection refused" });
  assert.equal((await httpCheck("http://no such host/")({ signal: never })).ok, false);
});

test("http: a server that never answers ends with the signal, one that talks nonsense is refused", async () => {
  const stop = new AbortController();
  const mute = createTcpServer((socket) => void socket.on("error", () => undefined).once("data", () => stop.abort()));
  const port = await listen(mute);
  assert.deepEqual(await httpCheck(`http://127.0.0.1:${port}/`)({ signal: stop.signal }), { ok: false, reason: "no answer in time", listening: true });
  mute.close();
  const rude = createTcpServer((socket) => void socket.on("error", () => undefined).end("nonsense\r\n\r\n"));
  const rudePort = await listen(rude);
  assert.equal((await httpCheck(`http://127.0.0.1:${rudePort}/`)({ signal: never })).ok, false);
  rude.close();
});

test("tcp: an accepted connection passes", async () => {
  const server = createTcpServer((socket) => socket.destroy());
  const port = await listen(server);
  assert.deepEqual(await tcpCheck("127.0.0.1", port)({ signal: never }), { ok: true });
  await new Promise((resolve) => server.close(resolve));
  assert.deepEqual(await tcpCheck("127.0.0.1", port)({ signal: never }), { ok: false, reason: "connection refused" });
});

test("exec: 0 passes; a code, a death, a missing program and a cut are reasons", async () => {
  const run = commandRunner(() => ({ env }));
  const check = (...argv: string[]) => execCheck(argv, run)({ signal: never });
  assert.deepEqual(await check("/bin/true"), { ok: true });
  assert.deepEqual(await check("/bin/sh", "-c", "exit 3"), { ok: false, reason: "/bin/sh ended with 3" });
  assert.deepEqual(await check("/bin/sh", "-c", "kill -9 $$"), { ok: false, reason: "/bin/sh died of SIGKILL" });
  assert.deepEqual(await check("/no/such"), { ok: false, reason: "the program /no/such does not exist" });
  const stop = new AbortController();
  const seen: (Ending | string)[] = [];
  const cut = execCheck(["/bin/sleep", "600"], async (argv, options) => {
    queueMicrotask(() => stop.abort());
    const ending = await run(argv, options);
    seen.push(ending);
    return ending;
  });
  assert.deepEqual(await cut({ signal: stop.signal }), { ok: false, reason: "/bin/sleep took too long" });
  assert.deepEqual(seen, [{ code: null, signal: "SIGKILL" }]);
});

test("file: existence passes", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-probe-"));
  const path = join(dir, "flag");
  assert.deepEqual(await fileCheck(path)({ signal: never }), { ok: false, reason: `${path}: no such file or folder` });
  writeFileSync(path, "");
  assert.deepEqual(await fileCheck(path)({ signal: never }), { ok: true });
  rmSync(dir, { recursive: true });
});

test("log-line: a matching line passes at once and stays seen", async () => {
  const { check, feed } = logLineCheck("^Running on local URL");
  const stop = new AbortController();
  const cut = check({ signal: stop.signal });
  feed("Loading weights");
  stop.abort();
  assert.deepEqual(await cut, { ok: false, reason: "no line matches /^Running on local URL/ yet" });
  const waiting = check({ signal: never });
  feed("Running on local URL:  http://127.0.0.1:7860");
  assert.deepEqual(await waiting, { ok: true });
  assert.deepEqual(await check({ signal: never }), { ok: true });
});

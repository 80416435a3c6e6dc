import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { createScriptedEngine } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";
import { ask } from "./http-rig.ts";

/** One request as it stands; resolves with its status. fetch would not let a test write these headers. */
export async function raw(url: string, text: string): Promise<{ status: number; text: string }> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname.replace(/^\[(.*)\]$/, "$1"));
  limit().signal.addEventListener("abort", () => socket.destroy());
  let said = "";
  socket.setEncoding("utf8").on("data", (part: string) => (said += part));
  socket.write(text);
  await new Promise<void>((resolve) => void socket.once("close", () => resolve()).on("error", () => resolve()));
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(said)?.[1]), text: said };
}

const body = '{"input":{}}';
const post = (headers: string): string => `POST /run HTTP/1.1\r\n${headers}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;

test("Without a key, a loopback API answers programs and refuses web pages and foreign names", { timeout: 60_000 }, async () => {
  const engine = createScriptedEngine();
  await using rig = await startRig(engine, { sources: { http: { ...httpConfig(), allowHosts: ["images.lan"] } } });
  const url = await rig.untilListening();
  const own = new URL(url).host;
  const cases: [string, number][] = [
    [`Host: ${own}\r\n`, 200],
    [`Host: localhost\r\nContent-Type: text/plain\r\n`, 200],
    [`Host: [::1]:8000\r\n`, 200],
    [`Host: images.lan:80\r\n`, 200],
    [`Host: ${own}\r\nOrigin: http://${own}\r\nSec-Fetch-Site: same-origin\r\n`, 200],
    [`Host: evil.example\r\n`, 403],
    [`Host: 127.0.0.1.evil.example\r\n`, 403],
    [`Host: evil.example\r\nOrigin: http://evil.example\r\n`, 403],
    [`Host: ${own}\r\nOrigin: https://evil.example\r\n`, 403],
    [`Host: ${own}\r\nOrigin: null\r\n`, 403],
    [`Host: ${own}\r\nSec-Fetch-Site: cross-site\r\n`, 403],
  ];
  for (const [headers, status] of cases) assert.equal((await raw(url, post(headers))).status, status, headers);
  const refused = await raw(url, post(`Host: ${own}\r\nOrigin: https://evil.example\r\n`));
  assert.match(refused.text, /"code":"job\.wrong-origin"/);
  assert.doesNotMatch(refused.text, /access-control/i);
});

test("CORS is off until origins are named; a named page passes its preflight without the key, and needs it after that", { timeout: 60_000 }, async () => {
  const config = { ...httpConfig(), apiKey: "a-long-secret", allowOrigins: ["https://app.example"] };
  await using rig = await startRig(createScriptedEngine(), { sources: { http: config } });
  const url = await rig.untilListening();
  const preflight = (origin: string) =>
    fetch(`${url}/run`, { method: "OPTIONS", headers: { Origin: origin, "Access-Control-Request-Method": "POST" }, ...limit() });
  const good = await preflight("https://app.example");
  assert.deepEqual([good.status, good.headers.get("access-control-allow-origin")], [204, "https://app.example"]);
  assert.equal((await preflight("https://evil.example")).headers.get("access-control-allow-origin"), null);
  const headers = { Origin: "https://app.example" };
  assert.equal((await ask(`${url}/health`, undefined, { headers })).status, 401);
  const answer = await ask(`${url}/health`, undefined, { headers: { ...headers, Authorization: "Bearer a-long-secret" } });
  assert.deepEqual([answer.status, answer.headers.get("access-control-allow-origin")], [200, "https://app.example"]);
});

test("/ping says ready, not yet and no more; it and the docs need no key", { timeout: 60_000 }, async () => {
  const config = { ...httpConfig(), apiKey: "a-long-secret" };
  await using rig = await startRig(createScriptedEngine("webui"), { sources: { http: config }, engineIsService: true });
  const url = await rig.untilListening();
  assert.equal((await ask(`${url}/ping`)).status, 204);
  rig.tell({ type: "service.ready", service: "webui", afterMs: 1 });
  const until = async (status: number) => {
    for (;;) if ((await ask(`${url}/v2/x/ping`)).status === status) return;
  };
  await until(200);
  rig.tell({ type: "service.exited", service: "webui", ending: { code: 1, signal: null }, wanted: false, lastLines: [] });
  await until(204);
  rig.tell({ type: "service.crash-looping", service: "webui", restarts: 5, lastLines: [] });
  await until(503);
  const health = await ask(`${url}/health`, undefined, { headers: { Authorization: "Bearer a-long-secret" } });
  assert.equal((health.json["workers"] as { unhealthy: number }).unhealthy, 1);
  rig.tell({ type: "service.spawned", service: "webui", pid: 1, restarts: 6 });
  await until(204);
  assert.equal((await ask(`${url}/openapi.json`)).json["openapi"], "3.1.0");
  assert.equal((await ask(`${url}/status/x`)).status, 401);
});

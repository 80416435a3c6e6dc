/** Requests to throw at a job API: good ones, nearly good ones and nonsense, the same for one seed. */
import type { SeededRandom } from "../fixtures/seeded-random.ts";

const methods = [...Array.from({ length: 24 }, () => "POST"), "GET", "GET", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "post", "G\u00e9T"];
const paths = [
  "/run",
  "/runsync?wait=1000",
  "/status/a",
  "/stream/a",
  "/cancel/a",
  "/retry/a",
  "/purge-queue",
  "/health",
  "/ping",
  "/docs",
  "/openapi.json",
  "/",
];
const oddPaths = [
  "/status/%",
  "/status/%ff%fe",
  "/status/%00",
  "/status/..%2f..%2fetc",
  "//run",
  "/run/",
  "/v2//run",
  "/v2/a/b/run",
  "*",
  "/run?wait=%",
  "http://x/run",
];
const headers: readonly ((random: SeededRandom) => string)[] = [
  (random) => `Content-Type: ${random.pick(["application/json", "text/plain", "multipart/form-data", "application/json; charset=utf-16", ""])}`,
  (random) => `Idempotency-Key: ${printable(random.text(random.below(40)))}`,
  (random) => `Idempotency-Key: ${random.pick(["a", '"a"', '"', "", "x".repeat(700)])}`,
  (random) => `Authorization: ${random.pick(["Bearer x", "Basic Og==", "", "Bearer"])}`,
  (random) => `Origin: ${random.pick(["http://127.0.0.1", "http://127.0.0.1", "null", "http://evil.example", "::", ""])}`,
  (random) => `Sec-Fetch-Site: ${random.pick(["same-origin", "same-origin", "none", "cross-site"])}`,
  (random) => `Last-Event-ID: ${printable(random.text(random.below(20)))}`,
  (random) => `Accept-Encoding: ${random.pick(["gzip", "br;q=1e999", "identity"])}`,
  (random) => `X-${random.below(1000)}: ${"y".repeat(random.below(3000))}`,
  (random) => (random.below(4) === 0 ? `Expect: ${random.pick(["100-continue", "nonsense"])}` : "X-Nothing: 1"),
  () => "Upgrade: websocket\r\nConnection: upgrade",
  () => "Content-Encoding: gzip",
  () => "Range: bytes=0-5",
];
const values = [
  "null",
  "true",
  "-0",
  "1e999",
  '""',
  "[]",
  "{}",
  '"\\ud800"',
  '"\\u0000"',
  "12345678901234567890",
  '{"__proto__":{"x":1}}',
  '{"constructor":null}',
];

const printable = (text: string): string => text.replaceAll(/[^\u0020-\u007e]/g, "?");

export interface FuzzCase {
  readonly bytes: Buffer;
  /** The caller hangs up at once instead of waiting for an answer. */
  readonly leaves: boolean;
}

export function fuzzCase(random: SeededRandom): FuzzCase {
  const body = bodyOf(random);
  const path =
    random.below(12) === 0
      ? random.pick(oddPaths)
      : `${random.below(4) === 0 ? "/v2/any" : ""}${random.pick(random.below(3) === 0 ? paths : paths.slice(0, 2))}`;
  const some = Array.from({ length: random.below(5) }, () => random.pick(headers)(random));
  const host = random.below(30) === 0 ? random.pick(["evil.example", "", "[::1", "127.0.0.1:99999"]) : "127.0.0.1";
  const chunked = random.below(10) === 0;
  const framed = chunked ? chunksOf(random, body) : body;
  const length = chunked ? "Transfer-Encoding: chunked" : `Content-Length: ${lengthOf(random, body.length)}`;
  const head = [`${random.pick(methods)} ${path} HTTP/1.1`, `Host: ${host}`, length, "Connection: close", ...some].join("\r\n");
  const bytes = Buffer.concat([Buffer.from(`${head}\r\n\r\n`, "latin1"), framed]);
  return { bytes: random.below(50) === 0 ? broken(random, bytes) : bytes, leaves: random.below(25) === 0 };
}

function bodyOf(random: SeededRandom): Buffer {
  const kind = random.below(10);
  if (kind === 0) return Buffer.from(random.text(random.below(200)), "utf8");
  if (kind === 1) return Buffer.from(`{"input":${"[".repeat(random.below(200))}${"]".repeat(random.below(200))}}`);
  if (kind === 2) return Buffer.from(JSON.stringify(random.json(6)) ?? "");
  const fields = [`"input":${random.below(4) === 0 ? random.pick(values) : JSON.stringify({ prompt: random.text(random.below(50)), more: random.json(4) })}`];
  if (random.below(2) === 0) fields.push(`"id":${random.below(3) === 0 ? random.pick(values) : JSON.stringify(random.text(1 + random.below(8)))}`);
  if (random.below(4) === 0) fields.push(`"webhook":${random.below(2) === 0 ? random.pick(values) : '"http://169.254.169.254/"'}`);
  if (random.below(4) === 0) fields.push(`${JSON.stringify(random.text(random.below(10)))}:${random.pick(values)}`);
  const text = Buffer.from(`{${fields.join(",")}}`);
  return kind === 3 ? broken(random, text) : text;
}

/** A few bytes changed, left out or doubled. */
function broken(random: SeededRandom, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  for (let times = random.below(4); times >= 0 && copy.length > 0; times--) copy[random.below(copy.length)] = random.below(256);
  const cut = random.below(copy.length + 1);
  return random.below(3) === 0 ? copy.subarray(0, cut) : copy;
}

function lengthOf(random: SeededRandom, length: number): string {
  if (random.below(20) !== 0) return String(length);
  return random.pick([String(length + 5), String(Math.max(0, length - 3)), "-1", "99999999999", "0x10", "", "1, 2"]);
}

function chunksOf(random: SeededRandom, body: Buffer): Buffer {
  const size = random.below(10) === 0 ? random.pick(["zz", "-1", "ffffffffff", ""]) : body.length.toString(16);
  return Buffer.concat([Buffer.from(`${size}\r\n`), body, Buffer.from(random.below(10) === 0 ? "\r\n" : "\r\n0\r\n\r\n")]);
}

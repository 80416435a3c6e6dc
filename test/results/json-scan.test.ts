import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonScan, type JsonScanOptions } from "../../src/results/json-scan.ts";
import { seededRandom } from "../fixtures/seeded-random.ts";

interface Scanned {
  readonly strings: string[];
  readonly kept: Map<string, string>;
  readonly watched: number | undefined;
}

/** Scans in chunks that end where `cut` says; the strings are checked for control characters as the base64 reader would. */
function scan(text: string | Buffer, cut: (left: number) => number = (left) => left, options: Partial<JsonScanOptions> = {}): Scanned {
  const bytes = Buffer.from(text);
  const strings: string[] = [];
  let parts: Buffer[] = [];
  const listener = {
    onString: (index: number) => assert.equal(index, strings.length),
    onPiece: (piece: Buffer) => void parts.push(Buffer.from(piece)),
    onStringEnd: () => {
      strings.push(Buffer.concat(parts).toString("utf8"));
      parts = [];
    },
  };
  const scanner = new JsonScan({ watch: "images", listener, ...options });
  for (let at = 0; at < bytes.length;) {
    const size = Math.max(1, cut(bytes.length - at));
    scanner.push(bytes.subarray(at, at + size));
    at += size;
  }
  scanner.end();
  return { strings, kept: scanner.kept, watched: scanner.watched };
}

test("the watched strings come out whole, wherever the chunks end", () => {
  const answer = JSON.stringify({ a: [1, { images: ["no"] }], images: ["iVBOR", 'x/y\\z"\n', "ü€😀"], info: '{"seed": 1}', z: null });
  const escaped = answer.replace("x/y", "x\\/y").replace("😀", "\\ud83d\\ude00").replace("iV", "\\u0069V");
  for (const size of [1, 2, 3, 7, 64, 10_000]) {
    const seen = scan(escaped, () => size, { keep: ["info", "z"] });
    assert.deepEqual(seen.strings, ["iVBOR", 'x/y\\z"\n', "ü€😀"]);
    assert.deepEqual(
      [...seen.kept],
      [
        ["info", '"{\\"seed\\": 1}"'],
        ["z", "null"],
      ],
    );
  }
});

test("a kept value that is too long is left out, and the scan goes on", () => {
  const seen = scan(JSON.stringify({ info: "x".repeat(500), parameters: { steps: 3 }, images: ["a"] }), () => 10, {
    keep: ["info", "parameters"],
    keepBytes: 100,
  });
  assert.deepEqual([...seen.kept], [["parameters", '{"steps":3}']]);
  assert.equal(seen.watched, 1);
});

test("what is no answer says why", () => {
  const refused: [string | Buffer, RegExp][] = [
    ["", /is empty/],
    ["<html>", /no JSON object/],
    ["[1]", /no JSON object/],
    ['{"images":["AAAA', /breaks off after 16 bytes/],
    ['{"images":[1]}', /has 1 instead of a string/],
    ['{"images":[[]]}', /something else than a string/],
    ['{"images":{}}', /object instead of an array/],
    ['{"images":[],"images":[]}', /twice/],
    ['{"a":1}x', /"x" at byte 7/],
    ['{"a":\u0001}', /no JSON value/],
    [`{"a":${"[".repeat(600)}`, /deeper than 512/],
    [`{"a":${"1".repeat(2000)}}`, /number of more than/],
    [Buffer.from('{"a":"\xff"}', "latin1"), /UTF-8/],
  ];
  for (const [text, reason] of refused) assert.throws(() => scan(text), reason, String(text).slice(0, 40));
});

test("an endless key or a nested copy of the watched key costs no memory and counts for nothing", () => {
  const seen = scan(JSON.stringify({ ["k".repeat(1_000_000)]: 1, parameters: { images: ["deep"] } }));
  assert.deepEqual(seen.strings, []);
  assert.equal(seen.watched, undefined);
});

test("it accepts and refuses exactly what JSON.parse does, for damaged texts in random chunks", () => {
  const random = seededRandom(20240727);
  let refused = 0;
  for (let round = 0; round < 4000; round++) {
    const value = { images: Array.from({ length: random.below(3) }, () => random.text(random.below(120))), ["k" + random.text(3)]: random.json(4) };
    const damaged = round % 3 === 0 ? JSON.stringify(value) : random.damage(JSON.stringify(value, null, random.below(3)));
    // Damage may split a pair; what arrives over a wire is UTF-8, which has no halves.
    const text = damaged.toWellFormed();
    const expected = parsed(text);
    const wanted = expected !== undefined && isAnswer(text, expected);
    let seen: Scanned | undefined;
    try {
      seen = scan(text, (left) => random.below(Math.min(left, 40)) + 1);
    } catch {
      seen = undefined;
    }
    if (seen?.strings.some((one) => [...one].some((unit) => unit < " ")) && expected === undefined) seen = undefined;
    assert.equal(seen !== undefined, wanted, `round ${round}: ${text}`);
    if (seen && expected)
      assert.deepEqual(
        seen.strings,
        ((expected["images"] as string[] | undefined) ?? []).map((one) => one.toWellFormed()),
        text,
      );
    if (!seen) refused++;
  }
  assert.ok(refused > 500 && refused < 3500, `${refused} refused`);
});

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** What this scan asks beyond JSON: `images`, if there, is one array of strings (a number or null in it is refused). */
function isAnswer(text: string, value: Record<string, unknown>): boolean {
  const images = value["images"];
  if (images === undefined) return true;
  if (Array.isArray(images)) return images.every((one) => typeof one === "string") && text.split('"images"').length === 2;
  return typeof images !== "object" || images === null;
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { readImageHeader } from "../../../src/jobs/prepare/image-header.ts";
import { readImageText } from "../../../src/jobs/prepare/image-text.ts";
import { makePng } from "../../fixtures/png.ts";
import { seededRandom } from "../../fixtures/seeded-random.ts";

const limits = { maxPixels: 1_000_000 };
const png = makePng({ width: 300, height: 20, fill: (at) => at * 7 });
const base64 = png.toString("base64");
const bytes = (text: string) => Buffer.from(text, "latin1");

/** The first bytes of real files (Pillow), each of a picture of 33x17. */
const heads: readonly (readonly [mime: string, base64: string])[] = [
  ["image/png", "iVBORw0KGgoAAAANSUhEUgAAACEAAAARCAIAAADc/FKVAAAA"],
  [
    "image/jpeg",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wAARCAARACEDASIAAhEBAxEB/8QAHwA=",
  ],
  [
    "image/jpeg",
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wgARCAARACEDASIAAhEBAxEB/8QAFQA=",
  ],
  ["image/webp", "UklGRkwAAABXRUJQVlA4IEAAAACQAwCdASohABEAPm02l0ik"],
  ["image/webp", "UklGRh4AAABXRUJQVlA4TBEAAAAvIAAEAAdQ5CrUo/+BiOh/"],
  ["image/webp", "UklGRlgAAABXRUJQVlA4WAoAAAAQAAAAIAAAEAAAQUxQSAoA"],
  ["image/gif", "R0lGODdhIQARAIEAAArIHgAAAAAAAAAA"],
  ["image/bmp", "Qk3aBgAAAAAAADYAAAAoAAAAIQAAABEAAAABABgAAAAAAKQG"],
  [
    "image/avif",
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAKwAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAIQAAABEAAAAQcGl4aQ==",
  ],
];

test("the six formats and their sizes are read from content", () => {
  for (const [mime, head] of heads) assert.deepEqual(readImageHeader(Buffer.from(head, "base64")), { mime, width: 33, height: 17 }, mime);
  assert.deepEqual(readImageHeader(png), { mime: "image/png", width: 300, height: 20 });
  assert.deepEqual(readImageHeader(bytes("II*\0\x08\0\0\0")), { mime: "image/tiff" });
  for (const text of [
    "",
    "BM",
    "GIF89a",
    "\x89PNG\r\n\x1a\n",
    "<svg>",
    "%PDF",
    "\xff\xd8\xff",
    "\xff\xd8\xff\xd9",
    "RIFF\0\0\0\0WEBPVP8 ",
    "\0\0\0\x1cftypheic",
  ])
    assert.equal(readImageHeader(bytes(text)), undefined, JSON.stringify(text));
});

test("no damage to a file makes reading it throw or last", () => {
  const random = seededRandom(5).next;
  for (const [, head] of heads) {
    for (let round = 0; round < 300; round++) {
      const damaged = Buffer.from(head, "base64").subarray(0, 1 + Math.floor(random() * 200));
      for (let hit = 0; hit < 4; hit++) damaged[4 + Math.floor(random() * (damaged.length - 4))] = Math.floor(random() * 256);
      readImageHeader(damaged);
    }
  }
  const endless = Buffer.concat([bytes("\xff\xd8\xff"), Buffer.alloc(5_000_000, 0xff)]);
  assert.equal(readImageHeader(endless), undefined);
});

test("what engines can read is left as it is", async () => {
  const wrapped = base64.replace(/(.{76})/g, "$1\r\n");
  for (const text of [base64, `data:image/png;base64,${base64}`, wrapped, `${base64}\n`]) {
    assert.deepEqual(await readImageText(text, limits), { type: "image", text, header: { mime: "image/png", width: 300, height: 20 } });
  }
});

test("what engines would misread becomes plain base64", async () => {
  const urlSafe = png.toString("base64url");
  assert.notEqual(urlSafe, base64);
  const odd = [
    urlSafe,
    `data:application/octet-stream;base64,${base64}`,
    `data:image/png;charset=utf-8;base64,${base64}`,
    `DATA:image/png;base64,${base64}`,
    ` data:image/png;base64,${base64}`,
    `data:image/png;base64,${encodeURIComponent(base64)}`,
    base64.replace(/=+$/, ""),
  ];
  for (const text of odd) {
    const image = await readImageText(text, limits);
    assert.ok(image.type === "image" && Buffer.from(image.text, "base64").equals(png), text.slice(0, 60));
    assert.equal(image.text, base64, text.slice(0, 60));
  }
});

test("what is no image says why", async () => {
  const huge = Buffer.from(png);
  huge.writeUInt32BE(100_000, 16);
  const cases: readonly (readonly [text: string, reason: RegExp])[] = [
    ["", /empty/],
    ["   ", /empty/],
    ["hello", /cut off/],
    ["aGVsbG8gd29ybGQ=", /no image/],
    ["{json}", /neither a URL nor base64/],
    [`${base64}!`, /neither a URL nor base64/],
    [`${base64.slice(0, 50)}=${base64.slice(50)}`, /neither a URL nor base64/],
    [`${base64}====`, /neither a URL nor base64/],
    ["data:image/png,plain", /not in base64/],
    ["data:image/png;base64,", /empty/],
    ["data:image/png;base64,%ZZ", /damaged/],
    ["ftp://example.com/x.png", /only http:, https: and data:/],
    ["file:///etc/passwd", /only http:, https: and data:/],
    ["iVBORw0KGgo=", /damaged/],
    [huge.toString("base64"), /100000x20 pixels are more than 1000000/],
    [Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>").toString("base64"), /no image/],
  ];
  for (const [text, reason] of cases) {
    const image = await readImageText(text, limits);
    assert.ok(image.type === "none" && reason.test(image.reason), `${text.slice(0, 40)}: ${JSON.stringify(image).slice(0, 200)}`);
  }
});

test("a large image is looked at in pieces, and all of it", async () => {
  const large = Buffer.concat([png, Buffer.alloc(9_000_001, 0xa5)]).toString("base64");
  assert.equal((await readImageText(large, limits)).type, "image");
  assert.equal((await readImageText(`${large.slice(0, -1000)}*${large.slice(-1000)}`, limits)).type, "none");
  let turns = 0;
  const counting = setInterval(() => (turns += 1), 0);
  await readImageText(large, limits);
  clearInterval(counting);
  assert.ok(turns > 0);
});

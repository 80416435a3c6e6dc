import assert from "node:assert/strict";
import { test } from "node:test";
import { pickTcmalloc } from "../../src/machine/tcmalloc.ts";

const listing = `1234 libs found in cache \`/etc/ld.so.cache'
\tlibtcmalloc_minimal_debug.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc_minimal_debug.so.4
\tlibtcmalloc_minimal.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4
\tlibtcmalloc_and_profiler.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc_and_profiler.so.4
\tlibtcmalloc.so.4 (libc6) => /lib/i386-linux-gnu/libtcmalloc.so.4
\tlibtcmalloc.so.4 (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc.so.4
\tlibtcmalloc.so (libc6,x86-64) => /lib/x86_64-linux-gnu/libtcmalloc.so
`;

test("the full library of this architecture is preferred", () => {
  assert.equal(pickTcmalloc(listing, "x64"), "/lib/x86_64-linux-gnu/libtcmalloc.so.4");
});

test("the minimal one is taken when it is all there is", () => {
  assert.equal(pickTcmalloc(listing.replaceAll("libtcmalloc.so", "libother.so"), "x64"), "/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4");
});

test("a library of another architecture does not count", () => {
  assert.equal(pickTcmalloc(listing, "arm64"), undefined);
  assert.equal(pickTcmalloc("0 libs found", "x64"), undefined);
});

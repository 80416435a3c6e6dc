import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import { pinTo, resolvePublic } from "../../src/util/public-address.ts";
import { isPublic } from "../../src/util/public-range.ts";

const signal = new AbortController().signal;

const notPublic = [
  ["127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
  ["169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1"],
  ["203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1"],
  ["::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::127.0.0.1", "64:ff9b:1::1"],
  ["fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2001::1", "100::1", "4000::1", "3fff::1", "5f00::1"],
].flat();

test("isPublic knows every special range, and IPv4 hidden in IPv6", () => {
  for (const address of notPublic) assert.equal(isPublic(address), false, address);
  for (const address of ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111"])
    assert.equal(isPublic(address), true, address);
  for (const text of ["", "localhost", "8.8.8.8/8", "not an address"]) assert.equal(isPublic(text), false, text);
});

test("isPublic refuses this machine's own addresses", () => {
  for (const { address } of Object.values(networkInterfaces()).flatMap((found) => found ?? [])) assert.equal(isPublic(address), false, address);
});

const refusedHosts = ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.1", "[::1]", "::1", "[::ffff:127.0.0.1]", "0", "169.254.169.254."];

test("resolvePublic refuses private hosts in every notation", async () => {
  for (const host of [...refusedHosts, "localhost", "LOCALHOST", "localhost.", "①②⑦.0.0.1"])
    assert.equal((await resolvePublic(host, { signal })).type, "refused", host);
  for (const host of ["", "a b", "a/b", "user@host", "exa mple", "[::1", "host:80"])
    assert.equal((await resolvePublic(host, { signal })).type, "refused", host);
});

test("resolvePublic gives the addresses of what is public or allowed", async () => {
  assert.deepEqual(await resolvePublic("8.8.8.8", { signal }), { type: "resolved", addresses: [{ address: "8.8.8.8", family: 4 }] });
  assert.deepEqual(await resolvePublic("0x08080808", { signal }), { type: "resolved", addresses: [{ address: "8.8.8.8", family: 4 }] });
  assert.deepEqual(await resolvePublic("[::1]", { allowPrivate: true, signal }), { type: "resolved", addresses: [{ address: "::1", family: 6 }] });
  const local = await resolvePublic("localhost", { allowPrivate: true, signal });
  assert.ok(local.type === "resolved" && local.addresses.every(({ address }) => address === "127.0.0.1" || address === "::1"));
  assert.equal((await resolvePublic("no-such-name.invalid", { signal })).type, "unresolved");
});

test("allowHosts lets single hosts be private, and nothing that only looks like them", async () => {
  const allowHosts = ["LocalHost", "10.0.0.7", "*.corp.invalid"];
  const type = async (host: string) => (await resolvePublic(host, { allowHosts, signal })).type;
  assert.equal(await type("localhost"), "resolved");
  assert.equal(await type("10.0.0.7"), "resolved");
  assert.equal(await type("10.0.0.8"), "refused");
  assert.equal(await type("corp.invalid"), "unresolved");
  assert.equal(await type("a.corp.invalid"), "unresolved");
  assert.equal(await type("127.0.0.1"), "refused");
});

test("resolvePublic ends with its signal", async () => {
  const gone = AbortSignal.abort(new Error("enough"));
  await assert.rejects(resolvePublic("localhost", { signal: gone }), /enough/);
  const control = new AbortController();
  const asked = resolvePublic("no-such-name.invalid", { signal: control.signal });
  control.abort(new Error("enough"));
  await assert.rejects(asked, /enough/);
});

test("pinTo decides where a connection goes, whatever the name says", async () => {
  await using server = createServer((asked, answer) => answer.end(asked.headers.host));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const text = await new Promise<string>((resolve, reject) => {
    const asking = request({ hostname: "no-such-name.invalid", port, agent: false, lookup: pinTo([{ address: "127.0.0.1", family: 4 }]) });
    asking.once("response", (answer) => void answer.setEncoding("utf8").on("data", resolve));
    asking.once("error", reject).end();
  });
  assert.equal(text, `no-such-name.invalid:${port}`);
});

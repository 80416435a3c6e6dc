import assert from "node:assert/strict";
import { test } from "node:test";
import { conflicts, parseListeners } from "../../src/doctor/listeners.ts";

const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const row = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0\n`;

test("listening rows are read, with their addresses as people write them", () => {
  const v4 = parseListeners(head + row("0100007F:0BB8", "0A", 11) + row("00000000:1F40", "0A", 12) + row("0100007F:0BB8", "01", 13));
  assert.deepEqual(v4, [
    { address: "127.0.0.1", port: 3000, inode: "11" },
    { address: "0.0.0.0", port: 8000, inode: "12" },
  ]);
  const v6 = parseListeners(
    head +
      row("00000000000000000000000000000000:2382", "0A", 21) +
      row("00000000000000000000000001000000:2383", "0A", 22) +
      row("0000000000000000FFFF00000100007F:2384", "0A", 23),
  );
  assert.deepEqual(
    v6.map(({ address, port }) => `${address} ${port}`),
    [":: 9090", "::1 9091", "127.0.0.1 9092"],
  );
});

test("addresses clash when they are equal or one is a wildcard", () => {
  const clash = (host: string, address: string, port = 3000) => conflicts({ host, port: 3000 }, { address, port, inode: "1" });
  assert.ok(clash("127.0.0.1", "127.0.0.1"));
  assert.ok(clash("127.0.0.1", "0.0.0.0"));
  assert.ok(clash("0.0.0.0", "127.0.0.1"));
  assert.ok(clash("localhost", "127.0.0.1"));
  assert.ok(clash("127.0.0.1", "::"));
  assert.ok(!clash("127.0.0.1", "127.0.0.1", 3001));
  assert.ok(!clash("127.0.0.1", "::1"));
  assert.ok(!clash("127.0.0.1", "127.0.0.2"));
});

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type BootRecord, historyName, readBoots, recordBoot, usualTimes } from "../../src/phases/history.ts";

const boot = (volume: number, more: Partial<BootRecord> = {}): BootRecord => ({
  at: "2026-01-01T00:00:00.000Z",
  profile: "pod",
  hardware: "cpu ×2",
  phases: { volume },
  ...more,
});
const here = { profile: "pod", hardware: "cpu ×2" };

test("usual is the median of the last five boots of the same profile on the same hardware", () => {
  assert.deepEqual([...usualTimes([], here)], []);
  const others = [boot(9, { hardware: "cpu ×64" }), boot(9, { profile: "demo" })];
  assert.deepEqual([...usualTimes([boot(100), ...others, boot(300)], here)], [["volume", 200]]);
  assert.deepEqual(
    [
      ...usualTimes(
        [9000, 9000, 9000, 10, 50, 30, 20, 40].map((ms) => boot(ms)),
        here,
      ),
    ],
    [["volume", 30]],
  );
});

test("boots are kept in stateDir, the last 50; a damaged file counts as none", (context) => {
  const dir = mkdtempSync(join(tmpdir(), "fettle-history-"));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  assert.deepEqual(readBoots(dir), []);
  for (let ms = 1; ms <= 53; ms++) recordBoot(dir, boot(ms));
  assert.deepEqual([readBoots(dir).length, readBoots(dir)[0]?.phases, readBoots(dir).at(-1)?.phases], [50, { volume: 4 }, { volume: 53 }]);
  writeFileSync(join(dir, historyName), '{"boots":[{"profile":1},{"profile":"pod","hardware":"x","phases":{"volume":"long"}}]}');
  assert.deepEqual(readBoots(dir), []);
  writeFileSync(join(dir, historyName), '{"boots":');
  assert.deepEqual(readBoots(dir), []);
});

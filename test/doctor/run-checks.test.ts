import assert from "node:assert/strict";
import { test } from "node:test";
import { blocking, type Check, critical, type Finding, notChecked, ok, subjects, warning } from "../../src/doctor/check.ts";
import { checks } from "../../src/doctor/checks/index.ts";
import { buildReport, formatReport } from "../../src/doctor/report.ts";
import { selectChecks } from "../../src/doctor/select.ts";
import { createWard } from "./patient.ts";

const check = (id: string, look: Finding | (() => Promise<Finding>), needs?: string[]): Check => ({
  id,
  subject: "gpu",
  title: id,
  ...(needs && { needs }),
  check: async () => (typeof look === "function" ? await look() : look),
});

test("every check has its own id, begins it with its subject, and needs only checks that stand before it", () => {
  const before = new Set<string>();
  for (const { id, subject, needs = [] } of checks) {
    assert.ok(!before.has(id), id);
    assert.equal(id.split(".")[0], subject);
    for (const need of needs) assert.ok(before.has(need), `${id} needs ${need}`);
    before.add(id);
  }
  assert.deepEqual([...new Set(checks.map(({ subject }) => subject))].sort(), [...subjects].sort());
});

test("only the first cause is reported: what needs it is skipped and says by what, down the whole chain", async () => {
  using ward = createWard();
  const never = () => Promise.reject(new Error("must not run"));
  const table = [
    check("gpu.a", critical("broken", "mend a")),
    check("gpu.b", never, ["gpu.a"]),
    check("gpu.c", never, ["gpu.b"]),
    check("gpu.d", warning("small", "grow d")),
    check("gpu.e", ok("runs"), ["gpu.d"]),
    check("gpu.f", blocking("absent", "buy f")),
    check("gpu.g", never, ["gpu.f"]),
  ];
  const rows = await ward.ask("gpu", { table });
  assert.deepEqual(
    rows.map(({ id, state, message }) => [id, state, message]),
    [
      ["gpu.a", "critical", "broken"],
      ["gpu.b", "not-checked", "skipped: blocked by gpu.a"],
      ["gpu.c", "not-checked", "skipped: blocked by gpu.b"],
      ["gpu.d", "warning", "small"],
      ["gpu.e", "ok", "runs"],
      ["gpu.f", "warning", "absent"],
      ["gpu.g", "not-checked", "skipped: blocked by gpu.f"],
    ],
  );
  const alone = await ward.ask("gpu.b", { table });
  assert.deepEqual(
    alone.map(({ id }) => id),
    ["gpu.a", "gpu.b"],
  );
});

test("a check that hangs or throws is not checked, and the others are", async () => {
  using ward = createWard();
  const table = [
    check("gpu.hangs", () => new Promise(() => {})),
    check("gpu.throws", () => Promise.reject(new Error("no luck"))),
    check("gpu.fine", ok("fine")),
  ];
  const rows = await ward.ask("gpu", { table, timeoutMs: 20 });
  assert.deepEqual(
    rows.map(({ state, message }) => [state, message]),
    [
      ["not-checked", "no answer within 0.02 s"],
      ["not-checked", "the check failed: no luck"],
      ["ok", "fine"],
    ],
  );
});

test("the report counts, groups, masks secrets everywhere and keeps each finding on its line", () => {
  const rows = [
    { id: "gpu.a", subject: "gpu", title: "a", ...critical("key hunter22\n\u001b[31mred", "use hunter22", { lines: ["x hunter22"] }) },
    { id: "disk.b", subject: "disk", title: "b", ...notChecked("not there") },
  ] as const;
  const report = buildReport(rows, ["hunter22"]);
  assert.deepEqual([report.ok, report.summary], [false, { critical: 1, warning: 0, ok: 0, notChecked: 1 }]);
  assert.ok(!JSON.stringify(report).includes("hunter22"));
  assert.equal(
    formatReport(report),
    "gpu\n  [✗] a: key *** [31mred\n        fix: use ***\n\ndisk\n  [-] b: not there\n\n1 critical, 0 warnings, 0 ok, 1 not checked\n",
  );
});

test("--only takes subjects and ids, and knows what a typo meant", () => {
  assert.deepEqual(
    selectChecks(checks, "gpu.driver, ports").map(({ id }) => id),
    ["gpu.driver", "ports.free"],
  );
  assert.equal(selectChecks(checks, undefined), checks);
  assert.throws(() => selectChecks(checks, "gpu,pyton"), { code: "cli.bad-value", hint: "Did you mean python?" });
  assert.throws(() => selectChecks(checks, ","), { code: "cli.bad-value" });
});

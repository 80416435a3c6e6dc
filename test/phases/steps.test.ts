import assert from "node:assert/strict";
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { parse } from "yaml";
import type { Snapshot } from "../../src/control/protocol.ts";
import { runSteps } from "../../src/phases/steps/run-steps.ts";
import { withBlock } from "../../src/phases/steps/write.ts";
import type { Step, StepKind } from "../../src/plan/step.ts";

function folder(context: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "fettle-steps-"));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const nobody = { services: [] } as unknown as Snapshot;

async function run(steps: readonly StepKind[], { snapshot = nobody, onFailure = "fail" }: { snapshot?: Snapshot; onFailure?: Step["onFailure"] } = {}) {
  const lines: string[] = [];
  const code = await runSteps(
    steps.map((step) => ({ ...step, onFailure })),
    { say: (line) => lines.push(line), snapshot: () => Promise.resolve(snapshot), signal: new AbortController().signal },
  );
  return { code, lines };
}

test("folders: made with those above them, kept the second time; a file in the way is an error", async (context) => {
  const dir = folder(context);
  const step: StepKind = { type: "directories", paths: [join(dir, "a/b"), join(dir, "c")], mode: 0o700 };
  assert.deepEqual(await run([step]), { code: 0, lines: [`made 2 folders: ${dir}/a/b, ${dir}/c`] });
  assert.equal(statSync(join(dir, "a/b")).mode & 0o777, 0o700);
  assert.deepEqual(await run([step]), { code: 0, lines: ["Everything is in place."] });
  chmodSync(join(dir, "c"), 0o755);
  assert.deepEqual((await run([step])).lines, [`set the rights of ${dir}/c to 700`]);
  writeFileSync(join(dir, "file"), "");
  const { code, lines } = await run([{ type: "directories", paths: [join(dir, "file")] }]);
  assert.equal(code, 1);
  assert.match(lines[0] ?? "", /^Cannot make the folder .*file: a file has that name\./);
});

test("links: made, kept, put right; what is real is set aside and never overwritten", async (context) => {
  const dir = folder(context);
  const [link, to] = [join(dir, "link"), join(dir, "target")];
  mkdirSync(to);
  const step = (onFolder: "move" | "keep" | "fail"): StepKind => ({ type: "links", links: [{ path: link, to }], onFolder });
  assert.deepEqual((await run([step("move")])).lines, [`linked ${link} → ${to}`]);
  assert.deepEqual((await run([step("move")])).lines, ["Everything is in place."]);
  rmSync(link);
  symlinkSync("elsewhere", link);
  assert.deepEqual((await run([step("fail")])).lines, [`linked ${link} → ${to} (it led to elsewhere)`]);
  rmSync(link);
  mkdirSync(link);
  writeFileSync(join(link, "precious"), "1");
  assert.equal((await run([step("fail")])).code, 1);
  assert.match((await run([step("keep")])).lines[0] ?? "", /^\[WARNING\] kept /);
  writeFileSync(join(dir, "link.before-link"), "an older one");
  assert.deepEqual((await run([step("move")])).lines, [`moved ${link}, a real folder, to ${link}.before-link-2`, `linked ${link} → ${to}`]);
  assert.equal(readFileSync(join(dir, "link.before-link-2/precious"), "utf8"), "1");
  assert.equal(readFileSync(join(dir, "link.before-link"), "utf8"), "an older one");
  assert.equal(readlinkSync(link), to);
});

test("links: a target or a folder that does not exist is an error, and nothing is made", async (context) => {
  const dir = folder(context);
  const missing = await run([{ type: "links", links: [{ path: join(dir, "link"), to: join(dir, "no") }], onFolder: "move" }]);
  assert.match(missing.lines[0] ?? "", /^Cannot link .*: .*\/no does not exist\./);
  const nowhere = await run([{ type: "links", links: [{ path: join(dir, "app/link"), to: dir }], onFolder: "move" }]);
  assert.match(nowhere.lines[0] ?? "", /the folder .*\/app does not exist\./);
  assert.equal(existsSync(join(dir, "app")), false);
  assert.equal(lstatSync(join(dir, "link"), { throwIfNoEntry: false }), undefined);
});

test("files: YAML under a comment, written only when they differ; a block leaves the rest of a file alone", async (context) => {
  const dir = folder(context);
  const path = join(dir, "paths.yaml");
  const yaml = { volume: { is_default: true, text_encoders: "a/\nb/\n" } };
  const step: StepKind = { type: "write", path, content: { yaml }, comment: "Ours." };
  assert.deepEqual((await run([step])).lines, [`wrote ${path}`]);
  assert.match(readFileSync(path, "utf8"), /^# Ours\.\nvolume:\n {2}is_default: true\n {2}text_encoders: \|\n {4}a\/\n/);
  assert.deepEqual(parse(readFileSync(path, "utf8")), yaml);
  assert.deepEqual((await run([step])).lines, ["Everything is in place."]);

  const keys = join(dir, "authorized_keys");
  writeFileSync(keys, "ssh-rsa theirs");
  const block = (text: string): StepKind => ({ type: "write", path: keys, content: text, block: "fettle", mode: 0o600 });
  await run([block("ssh-rsa ours")]);
  await run([block("ssh-rsa newer")]);
  assert.equal(readFileSync(keys, "utf8"), "ssh-rsa theirs\n# >>> fettle >>>\nssh-rsa newer\n# <<< fettle <<<\n");
  assert.equal(statSync(keys).mode & 0o777, 0o600);
  assert.equal(withBlock("# >>> fettle >>>\nx\n# <<< fettle <<<\nafter\n", "fettle", "y\n"), "# >>> fettle >>>\ny\n# <<< fettle <<<\nafter\n");
});

test("checks: paths are asked once, services until their time is over; what is not enabled is skipped", async (context) => {
  const dir = folder(context);
  const check = (what: Extract<StepKind, { type: "check" }>["check"]): StepKind => ({ type: "check", check: what, timeoutMs: 1 });
  assert.deepEqual(await run([check({ type: "writable", path: dir })]), { code: 0, lines: [`ok: ${dir} is writable`] });
  const lost = await run([check({ type: "writable", path: join(dir, "no") }), check({ type: "exists", path: dir })]);
  assert.deepEqual([lost.code, lost.lines.length], [1, 1]);
  assert.match(lost.lines[0] ?? "", /^Cannot use .*\/no: it does not exist\. Look at it: ls -la /);
  assert.match((await run([check({ type: "mounted", path: dir })])).lines[0] ?? "", /no volume is mounted on it/);
  const snapshot = { services: [{ name: "nginx", role: "service", state: "backing-off", restarts: 2 }] } as unknown as Snapshot;
  const checks = [check({ type: "service", service: "nginx" }), check({ type: "service", service: "other" })];
  assert.deepEqual(await run(checks, { snapshot, onFailure: "continue" }), {
    code: 1,
    lines: [
      "[WARNING] Cannot confirm that nginx is ready: it is backing-off. Read the log of the service it asks: `fettle service logs NAME`.",
      "skipped: other is ready (it is not enabled)",
      "1 of 2 failed: check that nginx is ready",
    ],
  });
  assert.equal((await run(checks, { snapshot, onFailure: "warn" })).code, 0);
});

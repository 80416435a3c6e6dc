import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openRunState, removeLeftovers } from "../../src/generate/run-state.ts";

const root = mkdtempSync(join(tmpdir(), "fettle-run-state-"));
after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

function place() {
  const dir = join(root, String(++count));
  mkdirSync(dir);
  const file = (name: string) => join(dir, name);
  const made = (name: string) => (writeFileSync(file(name), name), file(name));
  return { dir, path: file(".state"), file, made };
}

test("cut off after any byte, it still knows every job that was done before", () => {
  const { path, made, file } = place();
  const sizes: number[] = [];
  {
    using state = openRunState(path, { resume: false });
    for (const name of ["a", "b", "c"]) {
      state.writing(name, [{ path: file(name), temporary: file(`.${name}.tmp`) }]);
      state.done(name, [made(name)], { name });
      sizes.push(readFileSync(path).length);
    }
  }
  const whole = readFileSync(path);
  for (let size = whole.length; size >= 0; size--) {
    writeFileSync(path, whole.subarray(0, size));
    const expected = ["a", "b", "c"].filter((_, index) => size >= (sizes[index] ?? 0) - 1);
    // A header that was cut off is no memory at all, and no stranger's file either.
    if (size > 0 && size < whole.indexOf("\n")) continue;
    using state = openRunState(path, { resume: true });
    assert.deepEqual(
      ["a", "b", "c"].filter((key) => state.former(key)?.type === "done"),
      expected,
      `${size} bytes`,
    );
  }
});

test("what is written after a cut off line is a line of its own", () => {
  const { path, made } = place();
  {
    using state = openRunState(path, { resume: false });
    state.done("a", [made("a")], {});
    state.done("b", [made("b")], {});
  }
  truncateSync(path, readFileSync(path).length - 5);
  {
    using state = openRunState(path, { resume: true });
    state.done("c", [made("c")], {});
  }
  using state = openRunState(path, { resume: true });
  assert.deepEqual([state.former("a")?.type, state.former("b")?.type, state.former("c")?.type], ["done", undefined, "done"]);
});

test("a job whose file is gone is not done; without resume nothing is", () => {
  const { path, made, file } = place();
  {
    using state = openRunState(path, { resume: false });
    state.done("a", [made("a-0"), made("a-1")], {});
  }
  rmSync(file("a-0"));
  {
    using state = openRunState(path, { resume: true });
    assert.equal(state.former("a")?.type, "begun");
    removeLeftovers(state.former("a"), [file("a-0")]);
    assert.equal(existsSync(file("a-1")), false, "the rest of it is in nobody's way");
  }
  using state = openRunState(path, { resume: false });
  assert.equal(state.former("a"), undefined);
});

test("files of lines that are there no more may be replaced, the others not", () => {
  const { path, made, file } = place();
  {
    using state = openRunState(path, { resume: false });
    state.done("old", [made("1.png")], {});
    state.done("now", [made("2.png")], {});
  }
  using state = openRunState(path, { resume: true });
  assert.deepEqual(state.files(new Set(["now"])), { kept: new Set([file("2.png")]), stale: new Set([file("1.png")]) });
});

test("a stranger's file is refused, and no path in it leads out of its folder", () => {
  const { path, file } = place();
  writeFileSync(path, "my notes\n");
  assert.throws(() => openRunState(path, { resume: true }), /not the memory of such a run/);
  const victim = join(root, "victim");
  writeFileSync(victim, "");
  const line = { writing: "a", files: [{ path: "../victim", temporary: "../victim" }] };
  writeFileSync(path, `{"fettle":"generate","version":1}\n${JSON.stringify(line)}\n`);
  using state = openRunState(path, { resume: true });
  removeLeftovers(state.former("a"), [file("x")]);
  assert.ok(existsSync(victim));
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { createWard } from "./patient.ts";

const yaml = (more = "") => `engines: { mine: { kind: python, python: python3, allocator: none, ${more} } }\n`;
const said = (rows: readonly { readonly id: string; readonly state: string; readonly message: string }[]) =>
  rows.map(({ id, state, message }) => `${id} ${state} ${message}`);

test("a handler file is found where the engine will look, and what it imports is there", async () => {
  using ward = createWard();
  ward.file(
    "app/handler.py",
    "import json, runpod\nfrom helper import VALUE\ntry:\n    import not_needed\nexcept ImportError:\n    pass\nrunpod.serverless.start({})\n",
  );
  ward.file("app/helper.py", "VALUE = 1\n");
  const rows = await ward.ask("handler", { yaml: yaml('cwd: app, handler: ["/nowhere/handler.py", handler.py]') });
  assert.deepEqual(said(rows), [`handler.file:mine ok ${ward.dir}/app/handler.py`, "handler.imports:mine ok installed; it calls runpod.serverless.start"]);
});

test("what is wrong with a handler is named with its line", async () => {
  using ward = createWard();
  const ask = async (text: string) => {
    ward.file("handler.py", text);
    return (await ward.ask("handler.imports", { yaml: yaml() })).map(({ state, message, fix }) => [state, message.replaceAll(ward.dir, "."), fix]);
  };
  assert.deepEqual(await ask("import os\nimport no_such_thing.inner, nor_this\ndef handler(job): pass\n"), [
    [
      "critical",
      "./handler.py imports what is not there: no_such_thing (line 2), nor_this (line 2)",
      "python3 -m pip install no_such_thing nor_this, or set engines.mine.python",
    ],
  ]);
  assert.deepEqual(
    (await ask("def handler(job):\n    return (\n")).map((row) => row.slice(0, 2)),
    [["critical", "./handler.py:2: '(' was never closed"]],
  );
  assert.deepEqual(
    (await ask("def handle(job): pass\n")).map((row) => row.slice(0, 2)),
    [["critical", "./handler.py calls no runpod.serverless.start and has no function named handler"]],
  );
  assert.deepEqual(
    (await ask("handler = print\n")).map((row) => row[0]),
    ["ok"],
  );
});

test("a handler that is not there is critical, and no handler is nothing to look at", async () => {
  using ward = createWard();
  const [file, imports] = await ward.ask("handler", { yaml: yaml() });
  assert.deepEqual(
    [file?.state, file?.message, imports?.state, imports?.message],
    ["critical", "there is no handler.py, or it cannot be read", "not-checked", "skipped: blocked by handler.file"],
  );
  assert.deepEqual(
    (await ward.ask("handler.file")).map(({ state }) => state),
    ["not-checked"],
  );
});

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { configSchema } from "../../src/config/schema/index.ts";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { comfyuiSteps } from "../../src/install/comfyui.ts";
import { runSteps, type StepReport } from "../../src/install/step.ts";
import { commit, folder, must, python, wheel } from "./rig.ts";

const signal = new AbortController().signal;

function install(comfyui: Record<string, unknown>): Promise<StepReport[]> {
  const config = configSchema.parse({ install: { comfyui: { python, ...comfyui } } });
  assert.ok(config.install.comfyui);
  return runSteps(comfyuiSteps(config.install.comfyui, process.env), { signal });
}

const outcomes = (reports: readonly StepReport[]) => Object.fromEntries(reports.map(({ title, outcome }) => [title, outcome]));

async function failureOf(promise: Promise<unknown>): Promise<FettleError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof FettleError, String(error));
  return error;
}

test("clones ComfyUI and its nodes, installs all requirements, and does nothing the second time", { timeout: 180_000 }, async () => {
  commit("comfyui", { "main.py": "", "requirements.txt": `${wheel("tiny_core")}\n` });
  const first = commit("node-a", { "a.py": "first", "requirements.txt": `${wheel("tiny_node")}\n` });
  commit("node-a", { "a.py": "second" });
  commit("node-b", { "b.py": "" });
  const directory = join(folder, "ComfyUI");
  const comfyui = {
    repository: join(folder, "comfyui"),
    ref: "main",
    directory,
    nodes: [
      { name: "node-a", url: join(folder, "node-a"), commit: first },
      { name: "node-b", url: join(folder, "node-b") },
    ],
  };
  const reports = await install(comfyui);
  assert.equal(reports.length, 5);
  assert.ok(reports.every(({ outcome }) => outcome === "done"));
  assert.ok(existsSync(join(directory, "main.py")));
  assert.equal(readFileSync(join(directory, "custom_nodes/node-a/a.py"), "utf8"), "first");
  must(join(directory, ".venv/bin/python"), "-c", "import tiny_core, tiny_node");

  assert.ok((await install(comfyui)).every(({ outcome }) => outcome === "skipped"));

  // A branch that moved is not followed by itself; a node's new commit is, and only what hangs on it runs again.
  const third = commit("node-a", { "requirements.txt": `${wheel("tiny_node")}\n${wheel("tiny_more")}\n` });
  commit("comfyui", { "main.py": "newer" });
  const [node] = comfyui.nodes;
  const again = await install({ ...comfyui, nodes: [{ ...node, commit: third }, comfyui.nodes[1]] });
  assert.deepEqual(outcomes(again), {
    "clone ComfyUI (main)": "skipped",
    [`clone node-a (${third})`]: "done",
    "clone node-b (HEAD)": "skipped",
    "make the virtual environment of ComfyUI": "skipped",
    "install the requirements of ComfyUI": "done",
  });
  must(join(directory, ".venv/bin/python"), "-c", "import tiny_more");
});

test("a clone that fails names the step and git's own reason; what is in the way is left alone", { timeout: 180_000 }, async () => {
  const gone = await failureOf(install({ repository: join(folder, "no-such-repository"), directory: join(folder, "gone") }));
  assert.equal(gone.code, "install.failed");
  assert.match(gone.message, /^Cannot clone ComfyUI: git ended with 128: fatal: /);
  assert.ok((gone.details["lastLines"] as string[]).length > 0);

  commit("small", { "main.py": "" });
  const missing = await failureOf(install({ repository: join(folder, "small"), ref: "v9.9", directory: join(folder, "small-clone") }));
  assert.match(missing.message, /v9\.9/);

  mkdirSync(join(folder, "mine"));
  writeFileSync(join(folder, "mine/precious.txt"), "mine");
  const inTheWay = await failureOf(install({ repository: join(folder, "small"), directory: join(folder, "mine") }));
  assert.match(inTheWay.message, /exists and is not a git repository/);
  assert.equal(readFileSync(join(folder, "mine/precious.txt"), "utf8"), "mine");
});

test("requirements that cannot be installed fail, and the next run goes on from there", { timeout: 180_000 }, async () => {
  commit("broken", { "main.py": "", "requirements.txt": `${join(folder, "missing-1.0-py3-none-any.whl")}\n` });
  const comfyui = { repository: join(folder, "broken"), directory: join(folder, "broken-clone") };
  const error = await failureOf(install(comfyui));
  assert.match(error.message, /^Cannot install the requirements of ComfyUI: .*missing-1\.0/);
  wheel("missing");
  assert.deepEqual(
    (await install(comfyui)).map(({ outcome }) => outcome),
    ["skipped", "skipped", "done"],
  );
});

test("names and addresses that would leave the folder or reach a program are refused", () => {
  const nodes = (node: Record<string, unknown>) => configSchema.safeParse({ install: { comfyui: { nodes: [node] } } }).success;
  assert.equal(nodes({ name: "good", url: "https://example.com/x.git" }), true);
  for (const name of ["..", ".git", "a/b", ""]) assert.equal(nodes({ name, url: "https://example.com/x.git" }), false, name);
  for (const url of ["--upload-pack=touch x", "ext::sh -c true"]) assert.equal(nodes({ name: "good", url }), false, url);
  assert.equal(nodes({ name: "good", url: "x", commit: "--force" }), false);
});

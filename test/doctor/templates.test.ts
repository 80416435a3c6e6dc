import assert from "node:assert/strict";
import { chmodSync, mkdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Diagnosis } from "../../src/doctor/run-checks.ts";
import { openMergeCli, tinyBase, tinyLora } from "../merge/merge-cli.ts";
import { startModelHost } from "../models/model-host.ts";
import { createWard, type Ward } from "./patient.ts";

const usual = { kind: "diffusers", templates: "templates.json", modelsDir: "volume", mergedDirs: ["merged", "volume/merged"], allocator: "none" };

const style = { path: "style.safetensors", scale: 0.5 };

/** A ward with a checkpoint, a LoRA and a recipe beside each other, and a Python that has these packages. */
function createPlace(templates: object, packages: Record<string, string> = { peft: "0.21.2" }) {
  const ward = createWard();
  const facts = { executable: "/opt/python", version: [3, 11, 2], prefix: "/opt", isVenv: true, isExternallyManaged: false, machine: "x86_64", packages };
  ward.program("python", `echo '${JSON.stringify({ ...facts, xformersWants: null })}'`);
  ward.file("base.safetensors", tinyBase(0, 400));
  ward.file("style.safetensors", tinyLora(1));
  write(ward, templates);
  const ask = async (only: string, { keys = {}, env = {}, services = {} }: { keys?: object; env?: Record<string, string>; services?: object } = {}) => {
    const pictures = { ...usual, python: join(ward.dir, "bin/python"), ...keys };
    return said(ward, await ward.ask(only, { yaml: JSON.stringify({ engines: { pictures }, services }), env }));
  };
  return { ward, ask, [Symbol.dispose]: () => ward[Symbol.dispose]() };
}

const write = (ward: Ward, templates: object) => ward.file("templates.json", JSON.stringify({ templates }));
const said = ({ dir }: Ward, rows: readonly Diagnosis[]) =>
  rows.map(({ id, state, message, fix }) => [`${id} ${state}`, message.replaceAll(dir, "."), ...(fix === undefined ? [] : [fix.replaceAll(dir, ".")])]);

test("a merged model is whole and of its recipe, of another one, or damaged; the fix is the merge that makes it right", async () => {
  const lora = (scale: number) => ({ checkpoint: "base.safetensors", loras: [{ ...style, scale }] });
  using place = createPlace({ whole: lora(0.5), folder: { ...lora(0.5), dtype: "fp16" }, other: lora(0.6), cut: lora(0.7) });
  const { ward } = place;
  using cli = openMergeCli();
  const merge = async (...args: string[]) => {
    const { code, err } = await cli.run([join(ward.dir, "templates.json"), "--out", join(ward.dir, "volume/merged"), ...args]);
    assert.equal(code, 0, err);
  };
  await merge();
  truncateSync(join(ward.dir, "volume/merged/cut.safetensors"), 500);
  write(ward, {
    whole: lora(0.5),
    folder: { ...lora(0.5), dtype: "fp16" },
    other: lora(0.9),
    cut: lora(0.7),
    loose: lora(1),
    plain: { checkpoint: "base.safetensors" },
  });
  assert.deepEqual(await place.ask("templates"), [
    ["templates.recipe:pictures ok", "./templates.json: whole, folder, other, cut, loose, plain"],
    ["templates.model:whole ok", "merged: ./volume/merged/whole.safetensors"],
    ["templates.model:folder ok", "merged: ./volume/merged/folder.safetensors"],
    [
      "templates.model:other warning",
      "./volume/merged/other.safetensors is not used: it is not of this recipe any more; 1 LoRA is put on at run time",
      "fettle merge ./templates.json --only other --out ./volume/merged",
    ],
    [
      "templates.model:cut warning",
      "./volume/merged/cut.safetensors is not used: it ends inside its header, after 500 bytes; 1 LoRA is put on at run time",
      "fettle merge ./templates.json --only cut --out ./volume/merged",
    ],
    ["templates.model:loose ok", "not merged: 1 LoRA is put on at run time"],
    ["templates.model:plain ok", "nothing to merge"],
    ["templates.peft:pictures ok", "0.21.2, for the LoRAs of other, cut, loose"],
    ["templates.tokens:pictures ok", "nothing has to be fetched from a hub"],
    ["templates.folder:pictures ok", "./volume; nothing is written to it"],
  ]);
  // What doctor names mends it.
  await merge("--only", "other");
  await merge("--only", "cut");
  assert.deepEqual(
    (await place.ask("templates.model")).slice(2, 4).map(([id]) => id),
    ["templates.model:other ok", "templates.model:cut ok"],
  );
});

test("a recipe that is not there or has mistakes is named with its place, and nothing else is looked at", async () => {
  using place = createPlace({});
  const ask = async (text: string) => {
    place.ward.file("templates.json", text);
    return (await place.ask("templates.recipe"))[0];
  };
  assert.deepEqual(await ask("{}"), ["templates.recipe:pictures critical", "./templates.json has no template", "Write one; docs/templates.md shows how."]);
  assert.deepEqual(await ask('{\n  "a": { "checkpoint": "base.safetensors",\n    "lorras": [] }\n}'), [
    "templates.recipe:pictures critical",
    './templates.json:3:5: Cannot use recipe: unknown key "lorras".',
    'Did you mean "loras"?',
  ]);
  const [, several] = (await ask('{"a": {"checkpoint": 3, "loras": [{"path": "x", "scale": 99}]}}')) ?? [];
  assert.match(several ?? "", /^\.\/templates\.json:1:22: .* 1 more: `fettle merge \.\/templates\.json --dry-run` lists them\.$/);
  const [row] = await place.ask("templates.recipe", { keys: { defaultTemplate: "anime" } });
  assert.match(row?.[1] ?? "", /checkpoint/);
  write(place.ward, { photo: { checkpoint: "base.safetensors" } });
  assert.deepEqual(await place.ask("templates.recipe", { keys: { defaultTemplate: "anime" } }), [
    ["templates.recipe:pictures critical", "defaultTemplate is anime, ./templates.json has photo", "Set engines.pictures.defaultTemplate to one of them."],
  ]);
  const gone = await place.ask("templates", { keys: { templates: "gone.json" } });
  assert.deepEqual(gone[0], [
    "templates.recipe:pictures critical",
    "./gone.json: Cannot read recipe gone.json: no such file or folder.",
    "Put the recipe there, or set engines.pictures.templates.",
  ]);
  assert.deepEqual(
    gone.slice(1).map(([, message]) => message),
    Array(4).fill("skipped: blocked by templates.recipe"),
  );
  assert.deepEqual(said(place.ward, await place.ward.ask("templates.recipe")), [
    ["templates.recipe not-checked", "no engine of this configuration has templates"],
  ]);
});

test("what is missing, must be downloaded or wants a token is told without asking anybody", async () => {
  await using host = await startModelHost();
  const templates = {
    anime: { checkpoint: "civitai:128078", loras: ["hf:owner/repo/style.safetensors", "https://civitai.com/api/download/models/5?token=mine"] },
    lost: { checkpoint: "gone.safetensors", loras: ["gone-too.safetensors"] },
    cut: { checkpoint: "base.safetensors", loras: ["page.safetensors"] },
  };
  using place = createPlace(templates, {});
  place.ward.file("page.safetensors", "<!doctype html><title>Sign in</title>");
  const env = { HF_ENDPOINT: host.url(""), FETTLE_CIVITAI_URL: host.url("") };
  const rows = await place.ask("templates", { env, keys: { vae: "hf:owner/vae/vae.safetensors" } });
  assert.deepEqual(rows.slice(1), [
    [
      "templates.model:anime ok",
      "not merged: 2 LoRAs are put on at run time; to be downloaded: civitai:128078, hf:owner/repo/style.safetensors@main, civitai:5, hf:owner/vae/vae.safetensors@main",
    ],
    [
      "templates.model:lost critical",
      "not merged: 1 LoRA is put on at run time; its checkpoint gone.safetensors is not there: there is no image without it; its LoRA gone-too.safetensors is not there: it is left out; to be downloaded: hf:owner/vae/vae.safetensors@main",
      "Put gone.safetensors beside ./templates.json or into ./volume, or correct the recipe.",
    ],
    [
      "templates.model:cut warning",
      "not merged: 1 LoRA is put on at run time; its LoRA page.safetensors cannot be used (it is a web page, not weights (a link to the page, or a login)): it is left out; to be downloaded: hf:owner/vae/vae.safetensors@main",
      "Put a whole file in the place of ./page.safetensors.",
    ],
    ["templates.peft:pictures warning", "/opt/python lacks it: the LoRAs of anime, lost, cut are left out", "/opt/python -m pip install peft==0.21.2"],
    [
      "templates.tokens:Civitai warning",
      "CIVITAI_API_KEY has no value; Civitai asks most downloads for it: civitai:128078",
      "Set CIVITAI_API_KEY to a key of your account.",
    ],
    [
      "templates.tokens:Hugging Face not-checked",
      "HF_TOKEN has no value; only gated and private files need it, which their host alone can say: hf:owner/repo/style.safetensors@main, hf:owner/vae/vae.safetensors@main",
    ],
    [
      "templates.folder:pictures warning",
      "./volume does not exist; it will be made in . for the downloads",
      "Mount the volume of models, or mkdir -p ./volume, or set engines.pictures.modelsDir.",
    ],
  ]);
  const withTokens = { ...env, CIVITAI_API_KEY: "key-of-mine", HF_TOKEN: "hf_mine" };
  const tokens = await place.ask("templates.tokens", { env: withTokens });
  assert.deepEqual(tokens, [
    ["templates.tokens:Civitai ok", "CIVITAI_API_KEY is set, for civitai:128078"],
    ["templates.tokens:Hugging Face ok", "HF_TOKEN is set, for hf:owner/repo/style.safetensors@main"],
  ]);
  const [offline] = await place.ask("templates.model", { env: { ...withTokens, HF_HUB_OFFLINE: "1" } });
  assert.match(offline?.join(" ") ?? "", /^templates\.model:anime critical .*checkpoint civitai:128078 is not there and HF_HUB_OFFLINE forbids its download/);
  assert.deepEqual(host.requests, []);
});

test("a models folder that the engine's user cannot write to stops downloads, and only those", async () => {
  using place = createPlace({ far: { checkpoint: "civitai:1" } });
  const { ward } = place;
  mkdirSync(join(ward.dir, "volume"));
  chmodSync(join(ward.dir, "volume"), 0o755);
  const keys = { user: "nobody" };
  assert.deepEqual(await place.ask("templates.folder"), [["templates.folder:pictures ok", "./volume"]]);
  assert.deepEqual(await place.ask("templates.folder", { keys }), [
    [
      "templates.folder:pictures critical",
      "./volume: the engine's user nobody may not write to it, so nothing can be downloaded",
      "mkdir -p ./volume && chown -R nobody ./volume, or set engines.pictures.modelsDir",
    ],
  ]);
  // A step of the boot will open it.
  const services = { open: { steps: [{ directories: [join(ward.dir, "volume")], mode: "0777" }] } };
  assert.deepEqual(await place.ask("templates.folder", { keys, services }), [["templates.folder:pictures ok", "./volume"]]);
  chmodSync(join(ward.dir, "volume"), 0o777);
  assert.deepEqual(await place.ask("templates.folder", { keys }), [["templates.folder:pictures ok", "./volume"]]);
  // Downloads go into .fettle, which an earlier start may have made as another user.
  mkdirSync(join(ward.dir, "volume/.fettle"), { mode: 0o755 });
  assert.match((await place.ask("templates.folder", { keys }))[0]?.[1] ?? "", /^\.\/volume\/\.fettle: the engine's user nobody may not write/);
  write(ward, { near: { checkpoint: "base.safetensors" } });
  assert.deepEqual(await place.ask("templates.folder", { keys }), [["templates.folder:pictures ok", "./volume; nothing is written to it"]]);
  ward.file("a-file", "");
  write(ward, { far: { checkpoint: "civitai:1" } });
  const [blocked] = await place.ask("templates.folder", { keys: { modelsDir: "a-file/models" } });
  assert.match(blocked?.join(" ") ?? "", /critical \.\/a-file: it is no folder, so nothing can be downloaded/);
});

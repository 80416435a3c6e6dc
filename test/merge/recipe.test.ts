import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { recipeId } from "../../src/merge/merge-template.ts";
import { parseLora } from "../../src/merge/parse-lora.ts";
import { loadRecipe } from "../../src/merge/recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "fettle-recipe-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string): ReturnType<typeof loadRecipe> {
  writeFileSync(join(folder, "templates.json"), text);
  return loadRecipe("templates.json", { cwd: folder, outDir: join(folder, "merged") });
}

function mistakeOf(text: string): FettleError {
  try {
    load(text);
  } catch (error) {
    if (error instanceof FettleError) return error;
    throw error;
  }
  throw new Error("the recipe was accepted");
}

const local = (name: string) => ({ source: { kind: "file", path: join(folder, name) } });

test("a recipe gives one merge per template that has something to merge", () => {
  const templates = {
    anime: {
      checkpoint: "base.safetensors",
      steps: 24,
      loras: [{ path: "a.safetensors", scale: 0.8 }, "/abs/b.safetensors", { path: "c.safetensors", scale: 0.5, te: 0 }],
    },
    plain: { checkpoint: "base.safetensors" },
  };
  const wanted = [
    {
      name: "anime",
      out: join(folder, "merged/anime.safetensors"),
      checkpoint: local("base.safetensors"),
      loras: [
        { model: local("a.safetensors"), unet: 0.8, te: 0.8 },
        { model: { source: { kind: "file", path: "/abs/b.safetensors" } }, unet: 1, te: 1 },
        { model: local("c.safetensors"), unet: 0.5, te: 0 },
      ],
      terms: [],
      format: "single",
      dtype: "keep",
    },
  ];
  assert.deepEqual(load(JSON.stringify(templates)), wanted);
  assert.deepEqual(load(JSON.stringify({ templates })), wanted);
  assert.deepEqual(load(JSON.stringify([{ name: "anime", ...templates.anime }])), wanted);
});

test("configDir begins at the recipe's folder, and another one is another recipe", () => {
  const of = (configDir?: string) => load(JSON.stringify({ a: { checkpoint: "f.safetensors", format: "diffusers", ...(configDir && { configDir }) } }))[0];
  const [plain, near, far] = [of(), of("flux"), of("/models/other")];
  assert.deepEqual([plain?.configDir, near?.configDir, far?.configDir], [undefined, join(folder, "flux"), "/models/other"]);
  assert.equal(new Set([plain, near, far].map((one) => one && recipeId(one))).size, 3);
});

test("the same as YAML, with sources, block weights, a VAE and a sum", () => {
  const [one] = load(`
templates:
  photo:
    checkpoint: { path: "hf:owner/repo/sd_xl.safetensors@main", sha256: "${"AB".repeat(32)}" }
    loras:
      - path: civitai:128078
        unet: 0.8
        te1: 0.2
        blocks: 1,0,0,0,0,0,1,1,1,1,1,1
      - { path: "https://civitai.com/api/download/models/9?type=Model&token=secret", blocks: { IN04: 0.5, mid: 0 } }
    add: [{ path: other.safetensors, weight: 0.4 }]
    baseWeight: 0.6
    vae: https://huggingface.co/madebyollin/sdxl-vae-fp16-fix/blob/main/sdxl_vae.safetensors
    format: diffusers
    dtype: fp16
`);
  assert.ok(one);
  assert.deepEqual(one.checkpoint, {
    source: { kind: "huggingface", repo: "owner/repo", file: "sd_xl.safetensors", revision: "main" },
    sha256: "ab".repeat(32),
  });
  assert.deepEqual(one.loras[0], {
    model: { source: { kind: "civitai", version: "128078", query: "" } },
    unet: 0.8,
    te: 1,
    te1: 0.2,
    blocks: [1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
  });
  assert.deepEqual(one.loras[1]?.model.source, { kind: "civitai", version: "9", query: "type=Model", token: "secret" });
  assert.deepEqual(one.loras[1]?.blocks, { IN04: 0.5, mid: 0 });
  assert.deepEqual([one.terms.length, one.baseWeight, one.out], [1, 0.6, join(folder, "merged/photo")]);
  assert.deepEqual(one.vae?.source, { kind: "huggingface", repo: "madebyollin/sdxl-vae-fp16-fix", file: "sdxl_vae.safetensors", revision: "main" });
});

test("the recipe id changes with strengths and sources, not with where files lie or with a token", () => {
  const id = (lora: unknown, checkpoint = "base.safetensors") => {
    const [one] = load(JSON.stringify({ a: { checkpoint, loras: [lora] } }));
    return one && recipeId(one);
  };
  assert.equal(id("x.safetensors"), id({ path: "x.safetensors", scale: 1 }));
  assert.equal(id("x.safetensors"), id("/elsewhere/x.safetensors", "/elsewhere/base.safetensors"));
  assert.equal(id("https://civitai.com/api/download/models/9?token=one"), id("civitai:9"));
  const different = [id("x.safetensors"), id({ path: "x.safetensors", te: 0 }), id("y.safetensors"), id("civitai:9"), id("civitai:10")];
  assert.equal(new Set(different).size, different.length);
});

test("mistakes in a recipe are named with their place", () => {
  const cases: [text: string, line: number, column: number, words: RegExp, hint?: string][] = [
    [
      '{\n  "anime": {\n    "checkpoint": "b",\n    "loras": [{ "path": "a", "scale": "strong" }]\n  }\n}',
      4,
      39,
      /scale is the text "strong", expected a number from -10 to 10/,
    ],
    ['{\n  "a": { "loras": [] }\n}', 2, 3, /checkpoint is missing/],
    ['{\n  "a": { "checkpoint": "b",\n    "lora": ["x"] }\n}', 3, 5, /unknown key "lora"/, 'Did you mean "loras"?'],
    ["a:\n  checkpoint: b\n  loras:\n    - path: x\n      scael: 0.5\n", 5, 7, /unknown key "scael"/, 'Did you mean "scale"?'],
    ["a:\n  checkpoint: ftp://host/x\n", 2, 15, /expected a local file, hf:, civitai: or an https URL/],
    ["a:\n  checkpoint: civitai:abc\n", 2, 15, /expected civitai:VERSION_ID/],
    ["a:\n  checkpoint: { path: b, sha256: 12 }\n", 2, 34, /sha256: 64 hexadecimal digits/],
    ["a:\n  checkpoint: b\n  dtype: fp17\n", 3, 10, /dtype is the text "fp17"/, 'Did you mean "fp16"?'],
    ["a:\n  checkpoint: b\n  loras: [{ path: x, blocks: [1, 2] }]\n", 3, 30, /expected 12 or 20 numbers/],
    ['{\n  "a": {\n    "checkpoint": "b"\n    "loras": []\n  }\n}', 4, 5, /Cannot read recipe/],
    ["7\n", 1, 1, /expected templates by name, or a list of them/],
  ];
  for (const [text, line, column, words, hint] of cases) {
    const error = mistakeOf(text);
    assert.equal(error.code, "merge.invalid-recipe");
    assert.match(error.message, words);
    assert.deepEqual([error.where?.line, error.where?.column], [line, column], `${error.message}\n${text}`);
    if (hint) assert.equal(error.hint, hint);
  }
});

test("a token or a password in a drawn line becomes stars", () => {
  const error = mistakeOf('a: { checkpoint: "https://civitai.com/api/download/models/1?token=SECRET&type=Model", lorras: ["https://me:SECRET@host/x"] }\n');
  assert.equal(error.hint, 'Did you mean "loras"?');
  assert.match(error.where?.source ?? "", /token=\*{6}&type=Model.*me:\*{6}@host/);
  assert.doesNotMatch(JSON.stringify({ ...error, message: error.message }), /SECRET/);
});

test("two templates with one output, an empty file and a missing one are refused", () => {
  const twice = { a: { checkpoint: "b", loras: ["l"], output: "x" }, b: { checkpoint: "b", loras: ["l"], output: "x" } };
  assert.match(mistakeOf(JSON.stringify(twice)).message, /"a" and "b" both write/);
  assert.match(mistakeOf("# nothing\n").message, /Cannot use recipe: it is empty/);
  assert.throws(() => loadRecipe("no.json", { cwd: folder, outDir: folder }), {
    code: "merge.invalid-recipe",
    message: /Cannot read recipe no.json: no such file/,
  });
});

test("--lora takes strengths after the source, and a source may have colons", () => {
  assert.deepEqual(parseLora("a.safetensors"), { source: "a.safetensors", scale: 1 });
  assert.deepEqual(parseLora("a.safetensors:0.8"), { source: "a.safetensors", scale: 0.8 });
  assert.deepEqual(parseLora("a:b.safetensors:-1"), { source: "a:b.safetensors", scale: -1 });
  assert.deepEqual(parseLora("civitai:123"), { source: "civitai:123", scale: 1 });
  assert.deepEqual(parseLora("civitai:123:0.5"), { source: "civitai:123", scale: 0.5 });
  assert.deepEqual(parseLora("http://host:8080"), { source: "http://host:8080", scale: 1 });
  assert.deepEqual(parseLora("http://host:8080/x:2"), { source: "http://host:8080/x", scale: 2 });
  assert.deepEqual(parseLora("hf:o/r/f.safetensors@main:unet=0.8:te=0:lbw=1,0.5"), {
    source: "hf:o/r/f.safetensors@main",
    scale: 1,
    unet: 0.8,
    te: 0,
    blocks: "1,0.5",
  });
});

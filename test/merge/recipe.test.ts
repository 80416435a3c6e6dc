import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { parseLora } from "../../src/merge/parse-lora.ts";
import { loadRecipe } from "../../src/merge/recipe.ts";

const folder = mkdtempSync(join(tmpdir(), "fettle-recipe-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string): ReturnType<typeof loadRecipe> {
  const path = join(folder, "templates.json");
  writeFileSync(path, text);
  return loadRecipe(path, { outDir: join(folder, "merged") });
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

test("a recipe gives one request per template that has LoRAs", () => {
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
      base: join(folder, "base.safetensors"),
      loras: [
        { path: join(folder, "a.safetensors"), unet: 0.8, te: 0.8 },
        { path: "/abs/b.safetensors", unet: 1, te: 1 },
        { path: join(folder, "c.safetensors"), unet: 0.5, te: 0 },
      ],
      out: join(folder, "merged/anime.safetensors"),
    },
  ];
  assert.deepEqual(load(JSON.stringify(templates)), wanted);
  assert.deepEqual(load(JSON.stringify({ templates })), wanted);
  assert.deepEqual(load(JSON.stringify([{ name: "anime", ...templates.anime }])), wanted);
});

test("mistakes in a recipe are named with their place", () => {
  const error = mistakeOf('{\n  "anime": {\n    "checkpoint": "base.safetensors",\n    "loras": [{ "path": "a.safetensors", "scale": "strong" }]\n  }\n}');
  assert.equal(error.code, "merge.invalid-recipe");
  assert.equal(error.where?.path, "anime.loras.0.scale");
  assert.equal(error.where?.line, 4);
  assert.match(error.message, /expected number/);
});

test("URLs, two templates with one output, and text that is no JSON are refused", () => {
  assert.match(mistakeOf('{"a": {"checkpoint": "https://example.com/x.safetensors"}}').message, /expected a local file/);
  const twice = { a: { checkpoint: "b", loras: ["l"], output: "x" }, b: { checkpoint: "b", loras: ["l"], output: "x" } };
  assert.match(mistakeOf(JSON.stringify(twice)).message, /"a" and "b" both write/);
  assert.equal(mistakeOf("{").code, "merge.invalid-recipe");
  assert.equal(mistakeOf("7").code, "merge.invalid-recipe");
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

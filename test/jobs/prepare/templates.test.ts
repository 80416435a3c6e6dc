import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createPreparer } from "../../../src/jobs/prepare/create-prepare.ts";
import { createTemplateBook, type TemplateSettings } from "../../../src/jobs/prepare/templates.ts";
import { jobOf, usualRules } from "./rules.ts";

const twoTemplates = {
  templates: {
    anime: {
      checkpoint: "a.safetensors",
      loras: [],
      parameters: { num_inference_steps: 30, negative_prompt: "bad", override_settings: { CLIP_stop_at_last_layers: 2, eta_ddim: 1 } },
    },
    photo: { checkpoint: "b.safetensors" },
  },
};
const defaults = { steps: 24, cfg_scale: 4.5, width: 1024, height: 1024 };

function rig(content: unknown, settings: Partial<TemplateSettings> = {}, { file = "templates.json", kind = "diffusers" } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "fettle-templates-"));
  const path = join(dir, file);
  const write = (next: unknown) => writeFileSync(path, typeof next === "string" ? next : JSON.stringify(next));
  if (content !== undefined) write(content);
  const preparer = createPreparer(usualRules, [kind], createTemplateBook({ templates: path, defaults, ...settings }));
  const prepare = async (input: unknown) => {
    const prepared = await preparer.prepare(jobOf(input), { signal: new AbortController().signal });
    assert.equal(prepared.type, "prepared");
    const request = prepared.type === "prepared" ? prepared.forEngine(kind) : prepared;
    return { request, shape: prepared.type === "prepared" ? prepared.options.shape : "" };
  };
  const inputOf = async (input: unknown) => {
    const { request } = await prepare(input);
    assert.ok(request.type === "request", JSON.stringify(request));
    return request.input;
  };
  return { prepare, inputOf, check: preparer.check, write, [Symbol.dispose]: () => rmSync(dir, { recursive: true }) };
}

test("the job's words win over its template's, those over the configuration's", async () => {
  using one = rig(twoTemplates);
  assert.deepEqual(await one.inputOf({ prompt: "a", template: "anime", cfg_scale: 7, override_settings: { eta_ddim: 0 } }), {
    prompt: "a",
    steps: 30,
    cfg_scale: 7,
    width: 1024,
    height: 1024,
    negative_prompt: "bad",
    override_settings: { CLIP_stop_at_last_layers: 2, eta_ddim: 0 },
    fettle_template: "anime",
  });
  // Another API's name for the same field, and null, which says nothing.
  const input = await one.inputOf({ prompt: "a", template: "photo", num_inference_steps: 8, width: null });
  assert.deepEqual([input["steps"], input["width"], input["cfg_scale"], input["fettle_template"]], [8, 1024, 4.5, "photo"]);
});

test("a job that names no template gets the default, the engine's own model, or the first", async () => {
  using first = rig(twoTemplates);
  assert.equal((await first.inputOf({ prompt: "a" }))["fettle_template"], "anime");
  assert.equal((await first.prepare({ prompt: "a" })).shape, "template");
  using named = rig(twoTemplates, { defaultTemplate: "photo" });
  assert.equal((await named.inputOf({ prompt: "a" }))["fettle_template"], "photo");
  const other = { prompt: "a", override_settings: { sd_model_checkpoint: "x" } };
  assert.equal((await named.inputOf(other))["fettle_template"], undefined);
  assert.equal((await named.inputOf({ ...other, template: "photo" }))["fettle_template"], "photo");
  using model = rig(twoTemplates, { hasModel: true });
  assert.deepEqual(await model.inputOf({ prompt: "a" }), { prompt: "a", ...defaults });
  assert.equal((await model.prepare({ prompt: "a" })).shape, "engine");
});

test("an unknown template is refused at once, the nearest name first", async () => {
  using one = rig(twoTemplates);
  assert.deepEqual(one.check({ input: { prompt: "a", template: "foto" }, extra: {} }), {
    code: "job.invalid",
    message: 'Cannot run the job: input.template: there is no template "foto"; there are: photo, anime.',
    path: "input.template",
  });
  assert.equal(one.check({ input: { prompt: "a", template: 7 }, extra: {} })?.path, "input.template");
  assert.equal(one.check({ input: { prompt: "a", template: "photo" }, extra: {} }), undefined);
  assert.ok(one.check({ input: { prompt: "a", template: "__proto__" }, extra: {} }));
});

test("the file is read again when it has changed; a list and YAML are templates too", async () => {
  using one = rig([{ name: "only", checkpoint: "a" }]);
  assert.equal((await one.inputOf({ prompt: "a" }))["fettle_template"], "only");
  one.write(twoTemplates);
  assert.equal((await one.inputOf({ prompt: "a" }))["fettle_template"], "anime");
  using yaml = rig("templates:\n  calm:\n    checkpoint: a\n    parameters: { steps: 9 }\n", {}, { file: "templates.yaml" });
  assert.equal((await yaml.inputOf({ prompt: "a", template: "calm" }))["steps"], 9);
});

test("templates that cannot be read fail the job with their cause", async () => {
  for (const [content, cause] of [
    [undefined, /ENOENT|no such file/i],
    ["{", /cannot be read/],
    ["[7]", /template-1: expected keys with values/],
    [{ a: { checkpoint: "x", parameters: { size: 7 } } }, /a\.parameters\.size: expected text/],
  ] as const) {
    using one = rig(content);
    const { request } = await one.prepare({ prompt: "a" });
    assert.ok(request.type === "invalid" && request.failure.code === "merge.invalid-recipe", JSON.stringify(request));
    assert.match(request.failure.message, cause);
  }
});

test("an engine without templates warns of the key, as of any it does not know", async () => {
  const preparer = createPreparer(usualRules, ["a1111"]);
  const prepared = await preparer.prepare(jobOf({ prompt: "a", template: "x" }), { signal: new AbortController().signal });
  const request = prepared.type === "prepared" ? prepared.forEngine("a1111") : prepared;
  assert.ok(request.type === "request" && request.warnings.some((warning) => warning.startsWith("input.template is no field")));
});

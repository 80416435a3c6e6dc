import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createPreparer } from "../../../src/jobs/prepare/create-prepare.ts";
import { bundledKeys, img2imgKeys, txt2imgKeys } from "../../../src/jobs/prepare/keys.ts";
import { makePng } from "../../fixtures/png.ts";
import { seededRandom } from "../../fixtures/seeded-random.ts";
import { faultOf, jobOf, prepare, requestOf, usualRules } from "./rules.ts";

const picture = makePng({ width: 20, height: 12, fill: (at) => at }).toString("base64");

test("the keys are those of the bundled engine's schema", () => {
  const python = readFileSync(new URL("../../../src/engines/diffusers/helper/schema.py", import.meta.url), "utf8");
  const fieldsOf = (name: string) => {
    const [, body = ""] = new RegExp(`class ${name}\\(\\w+\\):\\n([\\s\\S]*?)(?=\\nclass |$)`).exec(python) ?? [];
    return [...body.matchAll(/^ {4}(\w+):/gm)].map(([, field]) => field ?? "");
  };
  const shared = fieldsOf("Generation");
  assert.ok(shared.length > 40);
  assert.deepEqual([...txt2imgKeys, ...bundledKeys].sort(), [...shared, ...fieldsOf("Txt2Img")].sort());
  assert.deepEqual([...img2imgKeys, ...bundledKeys].sort(), [...shared, ...fieldsOf("Img2Img")].sort());
});

test("a body in A1111's own names goes through as the object it is", async () => {
  const seed = { prompt: "a photograph", negative_prompt: "text", steps: 25, cfg_scale: 7, width: 512, height: 512, sampler_name: "DPM++ 2M Karras" };
  const bodies = [
    seed,
    {},
    { prompt: null, steps: "many", scheduler: "Karras", seed: null },
    { scheduler: "DDIM", override_settings: { sd_model_checkpoint: "sub/model.safetensors [abc]", CLIP_stop_at_last_layers: 2 } },
    { init_images: [picture, `data:image/png;base64,${picture}`], mask: picture, denoising_strength: 0.4 },
    { alwayson_scripts: { ADetailer: { args: [true, { ad_prompt: "a/b ../ c", ad_model: "face.pt" }] } }, script_args: [1, null, "seed, /, x"] },
    { prompt: "cat", save_images: true, override_settings: { save_to_dirs: true, samples_format: "webp" } },
  ];
  for (const kind of ["a1111", "diffusers"]) {
    for (const body of bodies) {
      const before = JSON.stringify(body);
      const request = await requestOf(body, { kind });
      assert.equal(request.input, body);
      assert.equal(JSON.stringify(body), before);
      assert.deepEqual([request.warnings, request.call, request.answersImages], [[], undefined, undefined]);
    }
  }
});

test("unknown keys are named with what was probably meant, and stay in the body", async () => {
  const body = { prompt: "a", negativ_prompt: "b", enable_hr: true, wholly_other_thing: 1, model: "x", init_images: [picture] };
  const { input, warnings } = await requestOf(body);
  assert.equal(input, body);
  assert.deepEqual(warnings, [
    "input.negativ_prompt is no field of A1111's img2img, so the engine ignores it. Did you mean negative_prompt?",
    "input.enable_hr belongs to txt2img; img2img ignores it.",
    "input.wholly_other_thing is no field of A1111's img2img, so the engine ignores it.",
    "input.model is no field of A1111's img2img, so the engine ignores it. Did you mean override_settings.sd_model_checkpoint?",
  ]);
  assert.deepEqual((await requestOf(body, { unknownKeys: "off" })).warnings, []);
  assert.match(await faultOf({ stepz: 4 }, { unknownKeys: "refuse" }), /^input\.stepz: .*Did you mean steps\? \(jobs\.unknownKeys\)\.$/);
  // Forge runs as a1111 and knows this one; the bundled engine does not.
  assert.deepEqual((await requestOf({ distilled_cfg_scale: 3 })).warnings, []);
  assert.equal((await requestOf({ distilled_cfg_scale: 3 }, { kind: "diffusers" })).warnings.length, 1);
  const many = await requestOf(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`${"k".repeat(500)}${index}`, 1])));
  assert.equal(many.warnings.length, 11);
  assert.ok(many.warnings.every((warning) => warning.length < 300));
});

const aliases: readonly (readonly [came: object, becomes: object])[] = [
  [
    { prompt: "a", num_inference_steps: 50, guidance_scale: 7.5 },
    { prompt: "a", steps: 50, cfg_scale: 7.5 },
  ],
  [{ num_inference_steps: "30" }, { steps: 30 }],
  [{ num_images: 2 }, { batch_size: 2 }],
  [{ num_images_per_prompt: 3 }, { batch_size: 3 }],
  [{ n: 4 }, { n_iter: 4 }],
  [{ num_outputs: 4 }, { n_iter: 4 }],
  [
    { negative: "x", cfg: 3 },
    { negative_prompt: "x", cfg_scale: 3 },
  ],
  [{ size: "1024x768" }, { width: 1024, height: 768 }],
  [{ size: null, image_url: null }, {}],
  [
    { image: picture, strength: 0.3, mask_image: picture },
    { init_images: [picture], denoising_strength: 0.3, mask: picture, width: 16, height: 8 },
  ],
  [
    { image: [picture], width: 64 },
    { init_images: [picture], width: 64 },
  ],
  [{ scheduler: "EulerAncestralDiscreteScheduler" }, { sampler_name: "Euler a" }],
  [{ scheduler: "DPMSolverMultistepScheduler" }, { sampler_name: "DPM++ 2M", scheduler: "Uniform" }],
  [{ scheduler: "DDIMScheduler" }, { sampler_name: "DDIM" }],
  [{ scheduler: "KarrasDPM" }, { sampler_name: "DPM++ 2M", scheduler: "Karras" }],
];

test("other APIs' names become A1111's, without a warning", async () => {
  for (const [came, becomes] of aliases) {
    const { input, warnings } = await requestOf(came);
    assert.deepEqual({ ...input }, becomes);
    assert.deepEqual(warnings, []);
  }
});

test("A1111's name wins over an alias, and says so when they differ", async () => {
  const same = await requestOf({ steps: 20, num_inference_steps: 20 });
  assert.deepEqual([{ ...same.input }, same.warnings], [{ steps: 20 }, []]);
  const other = await requestOf({
    steps: 20,
    num_inference_steps: 30,
    cfg_scale: null,
    cfg: 2,
    guidance_scale: 3,
    sampler_name: "LMS",
    scheduler: "UniPCMultistep",
  });
  assert.deepEqual({ ...other.input }, { steps: 20, cfg_scale: 3, sampler_name: "LMS" });
  assert.deepEqual(other.warnings, [
    "input.num_inference_steps differs from input.steps, which is used.",
    "input.cfg differs from input.guidance_scale, which is used.",
    "input.scheduler differs from input.sampler_name, which is used.",
  ]);
});

const faults: readonly (readonly [came: object, fault: RegExp])[] = [
  [{ num_inference_steps: "many" }, /^input\.num_inference_steps: expected a whole number from 1 on, not "many"\.$/],
  [{ num_inference_steps: 2.5 }, /^input\.num_inference_steps: .*not 2\.5\.$/],
  [{ n: 0 }, /^input\.n: expected a whole number from 1 on, not 0\.$/],
  [{ guidance_scale: {} }, /^input\.guidance_scale: expected a number, not an object\.$/],
  [{ strength: 1.5 }, /^input\.strength: expected a number from 0 to 1, not 1\.5\.$/],
  [{ size: "big" }, /^input\.size: expected text such as "1024x768", not "big"\.$/],
  [{ image: 5 }, /^input\.image: /],
  [{ image: [] }, /^input\.image: /],
  [{ image_url: "no image!" }, /^input\.image_url: it is neither a URL nor base64\.$/],
  [{ image: [picture, "no image"] }, /^input\.image\[1\]: /],
  [{ meta: "yes" }, /^input\.meta: expected true or false, not "yes"\.$/],
  [{ format: "gif" }, /^input\.format: expected png, jpeg or webp, not "gif"\.$/],
  [{ quality: 0 }, /^input\.quality: expected a whole number from 1 to 100, not 0\.$/],
];

test("only what is mapped is judged here, by the name its caller used", async () => {
  for (const [came, fault] of faults) assert.match(await faultOf(came), fault);
});

test("a job's own options leave its body", async () => {
  const { options, request } = await prepare(
    { prompt: "a", meta: true, format: "JPG", quality: 80 },
    { extra: { policy: { executionTimeout: 60_000, ttl: 1 }, webhook: "https://x" } },
  );
  assert.deepEqual(options, { meta: true, shape: "engine", format: "jpeg", quality: 80, deadlineMs: 60_000 });
  assert.deepEqual(request.type === "request" && { ...request.input }, { prompt: "a" });
  assert.deepEqual((await prepare({ meta: false, format: null })).options, { meta: false, shape: "engine" });
  assert.match(await faultOf({}, { extra: { policy: { executionTimeout: -1 } } }), /^policy\.executionTimeout: expected a number of milliseconds, not -1\.$/);
});

const sdxl = { prompt: "dragon", negative_prompt: "text", height: 1024, width: 768, num_inference_steps: 25, refiner_inference_steps: 50, guidance_scale: 7.5 };

test("worker-sdxl's input is known by what is its alone", async () => {
  const sample = { ...sdxl, strength: 0.3, high_noise_frac: 0.8, seed: 42, scheduler: "K_EULER", num_images: 2, image_url: null };
  const { options, request } = await prepare(sample);
  assert.equal(options?.shape, "worker-sdxl");
  assert.ok(request.type === "request");
  assert.deepEqual(
    { ...request.input },
    { prompt: "dragon", negative_prompt: "text", height: 1024, width: 768, seed: 42, sampler_name: "Euler", batch_size: 2, steps: 25, cfg_scale: 7.5 },
  );
  assert.equal(request.warnings.length, 2);
  const bare = await requestOf({ prompt: "a", scheduler: "KLMS" });
  assert.deepEqual({ ...bare.input }, { prompt: "a", sampler_name: "LMS", batch_size: 1, steps: 25, cfg_scale: 7.5, width: 1024, height: 1024 });
  const shapes: readonly (readonly [object, string])[] = [
    // The published sample of worker-a1111: its callers expect A1111's answer.
    [{ prompt: "a", num_inference_steps: 50, guidance_scale: 7.5 }, "engine"],
    [{ prompt: "a", num_images: 2, scheduler: "DDIM" }, "engine"],
    [{ ...sdxl, steps: 20 }, "engine"],
    [{ prompt: "a", scheduler: "K_EULER", meta: true }, "worker-sdxl"],
  ];
  for (const [input, shape] of shapes) assert.equal((await prepare(input)).options?.shape, shape);
  assert.equal((await prepare(sdxl, { dialect: "engine" })).options?.shape, "engine");
  const forced = await prepare({ prompt: "a", steps: 4 }, { dialect: "worker-sdxl" });
  assert.equal(forced.options?.shape, "worker-sdxl");
  assert.ok(forced.request.type === "request" && forced.request.input["steps"] === 4 && forced.request.warnings.length === 0);
});

test("worker-sdxl with a picture runs on the picture's own size", async () => {
  const { input } = await requestOf({ ...sdxl, scheduler: "PNDM", image_url: `data:image/png;base64,${picture}` });
  const { init_images, prompt, negative_prompt, ...rest } = input;
  assert.deepEqual([prompt, negative_prompt, init_images], ["dragon", "text", [`data:image/png;base64,${picture}`]]);
  assert.deepEqual(rest, { sampler_name: "PLMS", batch_size: 1, steps: 50, cfg_scale: 7.5, denoising_strength: 0.3, width: 16, height: 8 });
});

test("worker-sdxl's limits are that worker's", async () => {
  assert.match(await faultOf({ ...sdxl, num_images: 3 }), /^input\.num_images: expected 1 or 2, not 3\.$/);
  assert.match(await faultOf({ ...sdxl, scheduler: "Karras" }), /^input\.scheduler: expected one of PNDM, KLMS, DDIM, .*, not "Karras"\.$/);
  assert.match(await faultOf({ high_noise_frac: 0.8 }), /^input\.prompt: expected text, not null\.$/);
});

test("a call that a job names is made when it harms nobody", async () => {
  const call = async (method: string, endpoint: string, payload?: unknown) => {
    const { call: made, input, answersImages } = await requestOf({ api: { method, endpoint }, ...(payload !== undefined && { payload }) });
    return [made, input, answersImages];
  };
  assert.deepEqual(await call("POST", "/sdapi/v1/txt2img", { prompt: "a", num_inference_steps: 4 }), [
    "POST /sdapi/v1/txt2img",
    { prompt: "a", steps: 4 },
    undefined,
  ]);
  assert.deepEqual(await call("POST", "sdapi/v1/img2img", { init_images: [picture] }), ["POST /sdapi/v1/img2img", { init_images: [picture] }, undefined]);
  assert.deepEqual(await call("GET", "sdapi/v1/samplers", {}), ["GET /sdapi/v1/samplers", {}, false]);
  assert.deepEqual(await call("GET", "/sdapi/v1/options"), ["GET /sdapi/v1/options", {}, false]);
  assert.deepEqual(await call("POST", "sdapi/v1/png-info", { image: picture, n: 7 }), ["POST /sdapi/v1/png-info", { image: picture, n: 7 }, false]);
  const options = { api: { method: "POST", endpoint: "sdapi/v1/options" }, payload: { sd_vae: "None" } };
  assert.equal((await requestOf(options, { allowCalls: ["POST /sdapi/v1/options"] })).call, "POST /sdapi/v1/options");
  const refused: readonly (readonly [object, RegExp])[] = [
    [options, /^input\.api\.endpoint: POST \/sdapi\/v1\/options is not among the calls .*\(jobs\.allowCalls\)\.$/],
    [{ api: { method: "GET", endpoint: "sdapi/v1/cmd-flags" } }, /allowCalls/],
    [{ api: { method: "GET", endpoint: "sdapi/v1/sampler" } }, /did you mean GET \/sdapi\/v1\/samplers\?/],
    [{ api: { method: "POST", endpoint: "sdapi/v1/server-kill" } }, /allowCalls/],
    [{ api: { method: "POST", endpoint: "v1/download" } }, /cannot download files/],
    [{ api: { method: "DELETE", endpoint: "sdapi/v1/txt2img" } }, /^input\.api\.method: expected "GET" or "POST", not "DELETE"\.$/],
    [{ api: { method: "GET", endpoint: "../file=/etc/passwd" } }, /^input\.api\.endpoint: /],
    [{ api: { method: "GET", endpoint: "sdapi/v1/progress?x=1" } }, /^input\.api\.endpoint: /],
    [{ api: "x" }, /^input\.api: /],
    [{ api: { method: "POST", endpoint: "sdapi/v1/txt2img" }, payload: [] }, /^input\.payload: expected an object, not a list\.$/],
    [{ api: { method: "POST", endpoint: "sdapi/v1/txt2img" }, payload: { n: "x" } }, /^input\.payload\.n: /],
    [{ api: { method: "POST", endpoint: "sdapi/v1/png-info" }, payload: { image: "/etc/passwd" } }, /^input\.payload\.image: /],
  ];
  for (const [input, fault] of refused) assert.match(await faultOf(input), fault);
});

test("a ComfyUI workflow is for ComfyUI", async () => {
  const input = {
    workflow: { "9": { class_type: "SaveImage", inputs: { filename_prefix: "out/a", images: ["8", 0] } } },
    images: [{ name: "in.png", image: picture }],
  };
  const { request, options } = await prepare(input, { kind: "comfyui" });
  assert.ok(request.type === "request");
  assert.deepEqual([request.input, options?.shape], [input, "worker-comfyui"]);
  for (const kind of ["a1111", "diffusers"])
    assert.equal(await faultOf(input, { kind }), `input.workflow: a ComfyUI workflow needs an engine of kind comfyui; here it is ${kind}.`);
  const faulty: readonly (readonly [object, RegExp])[] = [
    [{ ...input, images: [{ name: "../x.png", image: picture }] }, /^input\.images\[0\]\.name: it leads out of its folder\.$/],
    [{ ...input, images: [{ image: picture }] }, /^input\.images\[0\]\.name: /],
    [{ ...input, images: [{ name: "a", image: "no image" }] }, /^input\.images\[0\]\.image: /],
    [
      { workflow: { "9": { class_type: "SaveImage", inputs: { filename_prefix: "/etc/cron.d/x" } } } },
      /^input\.workflow\.9\.inputs\.filename_prefix: it is an absolute path, /,
    ],
    [{ workflow: { "1": { class_type: "LoadImage", inputs: { image: "../../x.png [input]" } } } }, /^input\.workflow\.1\.inputs\.image: it leads out /],
  ];
  for (const [wrong, fault] of faulty) assert.match(await faultOf(wrong, { kind: "comfyui" }), fault);
});

test("a workflow as text, bare, or by its name goes to ComfyUI as it came; only who sends one gets worker-comfyui's answer", async () => {
  const nodes = { "9": { class_type: "SaveImage", inputs: { filename_prefix: "a", images: ["8", 0] } } };
  const named = { workflow: "portrait", strength: 0.4, size: "512x512", scheduler: "K_EULER", format: "webp" };
  for (const [input, shape, body] of [
    [{ workflow: JSON.stringify(nodes) }, "worker-comfyui", undefined],
    [nodes, "worker-comfyui", undefined],
    [named, "engine", { workflow: "portrait", strength: 0.4, size: "512x512", scheduler: "K_EULER" }],
  ] as const) {
    const { request, options } = await prepare(input, { kind: "comfyui" });
    assert.ok(request.type === "request");
    assert.deepEqual([request.input, options?.shape], [body ?? input, shape]);
    assert.match(await faultOf(input), /^input\.workflow: a ComfyUI workflow needs an engine of kind comfyui/);
  }
  const outside = { "9": { class_type: "SaveImage", inputs: { filename_prefix: "../../etc/x" } } };
  assert.match(await faultOf(outside, { kind: "comfyui" }), /^input\.9\.inputs\.filename_prefix: it leads out /);
  assert.match(await faultOf({ workflow: JSON.stringify(outside) }, { kind: "comfyui" }), /^input\.workflow\.9\.inputs\.filename_prefix: it leads out /);
});

test("without a workflow ComfyUI gets A1111's names; what its built-in workflow has no use for is said, and other calls are refused", async () => {
  const { request } = await prepare({ prompt: "a", num_inference_steps: 3, enable_hr: true, promt: "b" }, { kind: "comfyui" });
  assert.ok(request.type === "request");
  assert.deepEqual(request.input, { prompt: "a", steps: 3, enable_hr: true, promt: "b" });
  assert.deepEqual(request.warnings, [
    "input.enable_hr is not used by the built-in workflow for ComfyUI. A workflow of your own can have it.",
    "input.promt is not used by the built-in workflow for ComfyUI. Did you mean prompt?",
  ]);
  const call = { api: { method: "GET", endpoint: "/sdapi/v1/samplers" } };
  assert.match(await faultOf(call, { kind: "comfyui" }), /is a call of A1111, and the engine is ComfyUI/);
});

test("a handler of the user's own gets what came, whatever it looks like", async () => {
  const inputs = [{ meta: true, format: 7, image: "http://127.0.0.1:1/x" }, { workflow: {}, n: "x" }, { api: 1 }];
  for (const input of inputs) {
    for (const kinds of [["python"], ["a1111", "python"]]) {
      const request = await requestOf(input, { kind: "python", kinds });
      assert.deepEqual(request, { type: "request", input, warnings: [] });
    }
  }
  assert.equal((await prepare({}, { kind: "python", extra: { policy: { executionTimeout: 5 } } })).options?.deadlineMs, 5);
  assert.match(await faultOf({ n: "x" }, { kind: "a1111", kinds: ["a1111", "python"] }), /^input\.n: /);
});

test("what can be seen at once is said before a job is accepted", () => {
  const { check, fetches } = createPreparer(usualRules, ["a1111"]);
  const jobs = (input: unknown) => jobOf(input);
  assert.deepEqual(check(jobs({ num_inference_steps: "x" })), {
    code: "job.invalid",
    path: "input.num_inference_steps",
    message: 'Cannot run the job: input.num_inference_steps: expected a whole number from 1 on, not "x".',
  });
  assert.equal(check(jobs({ prompt: "a", image_url: "http://127.0.0.1/x.png" })), undefined);
  assert.equal(createPreparer(usualRules, ["a1111", "python"]).check(jobs({ n: "x" })), undefined);
  assert.equal(fetches(jobs({ image_url: "https://example.com/x.png" })), true);
  assert.equal(fetches(jobs({ alwayson_scripts: { x: { args: [{ image: "https://example.com/x.png" }] } } })), true);
  for (const input of [{ image: picture }, { prompt: "see https://example.com/x.png" }, { n: "x", image_url: "https://example.com/" }, undefined, null])
    assert.equal(fetches(jobs(input)), false);
  assert.equal(createPreparer(usualRules, ["python"]).fetches(jobs({ image_url: "https://example.com/x.png" })), false);
});

test("no input makes reading it throw, and what is refused names its field", async () => {
  const random = seededRandom(11);
  const keys = [...img2imgKeys, "api", "payload", "workflow", "images", "meta", "format", "quality", "n", "size", "image", "image_url", "strength"];
  const more = ["scheduler", "num_inference_steps", "refiner_inference_steps", "num_images", "__proto__", "constructor", "imageList", "hasOwnProperty"];
  const values = [
    () => random.json(3),
    () => picture,
    () => "http://127.0.0.1:1/x",
    () => ({ method: "GET", endpoint: random.pick(["sdapi/v1/samplers", "x"]) }),
  ];
  for (let round = 0; round < 3000; round++) {
    const entries = Array.from({ length: random.below(6) }, () => [random.pick([...keys, ...more, random.text(4)]), random.pick(values)()]);
    const input = JSON.parse(JSON.stringify(Object.fromEntries(entries))) as unknown;
    const kind = random.pick(["a1111", "diffusers", "comfyui", "other"]);
    const { request } = await prepare(input, { kind, inputs: { ...usualRules.inputs, urls: random.below(2) === 0 } });
    if (request.type === "invalid") assert.ok(request.failure.path?.startsWith("input"), request.failure.message);
    else assert.equal(typeof request.input, "object");
    createPreparer(usualRules, [kind]).check(jobOf(input));
  }
});

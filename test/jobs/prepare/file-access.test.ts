import assert from "node:assert/strict";
import { test } from "node:test";
import { confineName } from "../../../src/jobs/prepare/confine-name.ts";
import { makePng } from "../../fixtures/png.ts";
import { faultOf, requestOf } from "./rules.ts";

const picture = makePng({ width: 8, height: 8 }).toString("base64");
const jpegBase64 = `/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQEw8QEBD/wAALCAAIAAgBAREA`;

test("a name that passes stays below the folder it is joined to", () => {
  for (const name of ["a.png", "a b.png", "..a", "a..b", "CON", "ünï.png", "%2e%2e%2f", "x".repeat(255)]) assert.equal(confineName(name), undefined, name);
  for (const name of ["sub/a.png", "a/b/c", "..a/b.."]) {
    assert.equal(confineName(name, { folders: true }), undefined, name);
    assert.notEqual(confineName(name), undefined, name);
  }
  const bad = [
    "",
    ".",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "/a",
    "//a",
    "\\a",
    "a\\..\\b",
    "C:\\a",
    "~",
    "~root/a",
    "a\0.png",
    "a\nb",
    "a//b",
    "./a",
    "a/",
    "x".repeat(256),
    `${"a/".repeat(3000)}b`,
  ];
  for (const name of bad) for (const folders of [true, false]) assert.notEqual(confineName(name, { folders }), undefined, name);
});

const refused: readonly (readonly [body: object, path: string])[] = [
  [{ save_images: true, override_settings: { outdir_txt2img_samples: "/etc" } }, "input.override_settings.outdir_txt2img_samples"],
  [{ override_settings: { outdir_samples: "plain" } }, "input.override_settings.outdir_samples"],
  [{ override_settings: { directories_filename_pattern: "../../x" } }, "input.override_settings.directories_filename_pattern"],
  [{ override_settings: { samples_filename_pattern: "x" } }, "input.override_settings.samples_filename_pattern"],
  [{ override_settings: { profiling_enable: true } }, "input.override_settings.profiling_enable"],
  [{ override_settings: { profiling_filename: "/root/x" } }, "input.override_settings.profiling_filename"],
  [{ override_settings: { control_net_models_path: "x" } }, "input.override_settings.control_net_models_path"],
  [{ override_settings: { font: "x" } }, "input.override_settings.font"],
  [{ override_settings: { api_forbid_local_requests: false } }, "input.override_settings.api_forbid_local_requests"],
  [{ override_settings: { sd_model_checkpoint: "/models/x.safetensors" } }, "input.override_settings.sd_model_checkpoint"],
  [{ override_settings: { sd_vae: "a/../../x" } }, "input.override_settings.sd_vae"],
  [{ refiner_checkpoint: "../x" }, "input.refiner_checkpoint"],
  [{ hr_checkpoint_name: "\\\\host\\share" }, "input.hr_checkpoint_name"],
  [{ script_name: "Custom code", script_args: ["pass"] }, "input.script_name"],
  [{ script_name: "prompts from file or textbox", script_args: [false, false, "start", "a cat\n--prompt x --outpath_samples /etc"] }, "input.script_args[3]"],
  [{ script_args: ["~/.ssh/id_rsa"] }, "input.script_args[0]"],
  [{ script_args: [["deep", { x: "C:\\Windows\\x" }]] }, "input.script_args[0][1].x"],
  [{ alwayson_scripts: { controlnet: { args: [{ batch_images: "/workspace/other" }] } } }, "input.alwayson_scripts.controlnet.args[0].batch_images"],
  [{ alwayson_scripts: { controlnet: { args: [{ image: "outputs/other.png" }] } } }, "input.alwayson_scripts.controlnet.args[0].image"],
  [{ alwayson_scripts: { x: { args: ["file:///etc/passwd"] } } }, "input.alwayson_scripts.x.args[0]"],
  [{ alwayson_scripts: { x: { args: ["a/../../b"] } } }, "input.alwayson_scripts.x.args[0]"],
  [{ init_images: ["/etc/passwd"] }, "input.init_images[0]"],
  [{ init_images: ["file:///etc/passwd"] }, "input.init_images[0]"],
];

test("what reaches for the engine's files is refused, with its place", async () => {
  for (const kind of ["a1111", "diffusers"]) {
    for (const [body, path] of refused) assert.ok((await faultOf(body, { kind })).startsWith(`${path}: `), path);
  }
  const payload = await faultOf({ api: { method: "POST", endpoint: "sdapi/v1/txt2img" }, payload: { override_settings: { outdir_grids: "x" } } });
  assert.match(payload, /^input\.payload\.override_settings\.outdir_grids: it names a place on the engine's disk, .*\(jobs\.allowPaths\)\.$/);
});

test("with allowPaths all of it passes, but images must be images", async () => {
  for (const [body, path] of refused) {
    if (/image|init/.test(path) && !path.endsWith("batch_images")) assert.match(await faultOf(body, { allowPaths: true }), /^input\./);
    else assert.equal((await requestOf(body, { allowPaths: true })).input, body);
  }
});

test("what only looks a little like a path passes", async () => {
  const bodies = [
    { prompt: "/imagine a cat in ../style, ~masterpiece", negative_prompt: "/", styles: ["/x"] },
    { script_args: ["/", "a, /b/c d", "1/2", "..", "~ 5", jpegBase64, "data:image/png;base64,AAAA", "<lora:a/b:1>"].filter((one) => one !== "..") },
    {
      alwayson_scripts: {
        reactor: { args: [picture, true, "0", jpegBase64] },
        controlnet: { args: [{ image: { image: picture, mask: jpegBase64 }, input_image: "", mask: null }] },
      },
    },
    {
      override_settings: {
        sd_model_checkpoint: "a/b/c.safetensors",
        img2img_background_color: "#ffffff",
        face_restoration_model: "CodeFormer",
        directories_max_prompt_words: 4,
      },
    },
    { refiner_checkpoint: "sub/refiner.safetensors [12ab]", hr_checkpoint_name: "" },
  ];
  for (const body of bodies) assert.equal((await requestOf(body)).input, body);
});

// A checkpoint that `fettle merge` made draws in a real ComfyUI what its base and ComfyUI's own LoraLoader draw there.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { binary, type Fettle } from "../fettle.ts";
import { difference, pixelsOf } from "./pixels.ts";
import { startWithComfy } from "./setting.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);
const skip = target.type === "running" && "files are put only among the models of this suite";
const say = (line: string) => console.log(`  ${line}`);
const models = target.type === "launch" ? target.models : "";
const loras = join(models, "loras");
const base = "tiny.safetensors";
let fettle: Fettle;
let alone: Buffer;

before(async () => {
  if (target.type !== "launch") return;
  execFileSync(target.python, [join(import.meta.dirname, "../tiny_comfy_lora.py"), join(models, "checkpoints", base), loras]);
  fettle = await startWithComfy(target);
  await fettle.event("worker.listening");
  alone = await draw(base);
});

after(async () => {
  await fettle?.stop();
  for (const one of [models && loras, fettle?.dir]) if (one) rmSync(one, { recursive: true, force: true });
});

interface Strengths {
  readonly file: string;
  readonly unet: number;
  readonly te: number;
}

/** The pixels of one picture; always of the same text, seed and steps. */
async function draw(checkpoint: string, lora?: Strengths): Promise<Buffer> {
  const text = (words: string) => ({ class_type: "CLIPTextEncode", inputs: { text: words, clip: [lora ? "lora" : "model", 1] } });
  const sampling = { seed: 7, steps: 4, cfg: 4, sampler_name: "euler", scheduler: "normal", denoise: 1 };
  const workflow = {
    model: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: checkpoint } },
    ...(lora && {
      lora: {
        class_type: "LoraLoader",
        inputs: { lora_name: lora.file, strength_model: lora.unet, strength_clip: lora.te, model: ["model", 0], clip: ["model", 1] },
      },
    }),
    positive: text("a lighthouse in a storm"),
    negative: text("blurry"),
    latent: { class_type: "EmptyLatentImage", inputs: { width: 128, height: 128, batch_size: 1 } },
    sampler: {
      class_type: "KSampler",
      inputs: { ...sampling, model: [lora ? "lora" : "model", 0], positive: ["positive", 0], negative: ["negative", 0], latent_image: ["latent", 0] },
    },
    picture: { class_type: "VAEDecode", inputs: { samples: ["sampler", 0], vae: ["model", 2] } },
    saved: { class_type: "SaveImage", inputs: { images: ["picture", 0], filename_prefix: "live/merged" } },
  };
  const reply = await fettle.ask("POST", "/runsync?wait=240000", { input: { workflow } });
  assert.equal(reply.status, "COMPLETED", JSON.stringify(reply).slice(0, 2000));
  const [image] = (reply.output?.images ?? []) as unknown as readonly { readonly data: string }[];
  return pixelsOf(Buffer.from(image?.data ?? "", "base64"));
}

const cases: readonly (readonly [title: string, type: string, unet: number, te: number])[] = [
  ["a LoRA", "lora", 0.8, 0.8],
  ["a LoRA on the UNet alone", "lora", 0.8, 0],
  ["a LoRA on the text encoder alone", "lora", 0, 0.8],
  ["a LoHa", "loha", 0.8, 0.8],
  ["a LoKr", "lokr", 0.8, 0.8],
  ["a DoRA", "dora", 0.8, 0.8],
];
for (const [title, type, unet, te] of cases)
  test(`the merged checkpoint draws what LoraLoader draws: ${title}`, { skip }, async () => {
    const file = `${type}.safetensors`;
    const merged = join(models, "checkpoints", "merged.safetensors");
    const lora = `${join(loras, file)}:unet=${unet}:te=${te}`;
    execFileSync(binary, ["merge", "--base", join(models, "checkpoints", base), "--lora", lora, "--out", merged], { stdio: ["ignore", "ignore", "pipe"] });
    try {
      const theirs = await draw(base, { file, unet, te });
      const ours = await draw("merged.safetensors");
      const apart = difference(ours, theirs);
      const changes = [ours, theirs].map((one) => difference(one, alone).mean);
      say(`${title}: apart by ${apart.mean.toFixed(3)} of 255, at most ${apart.max}; from the base by ${changes.map((one) => one.toFixed(1)).join(" and ")}`);
      // Apart by merge's one rounding to float16: on a CPU, LoraLoader's sums stay float32. A strength of 0.76 for 0.8 is apart by 1 and more.
      assert.ok(apart.mean < 0.2 && apart.max <= 8, JSON.stringify(apart));
      assert.ok(Math.min(...changes) > 5, JSON.stringify(changes));
    } finally {
      rmSync(merged);
    }
  });

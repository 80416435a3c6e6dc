import { z } from "zod";
import { argv, duration, flag, integer, port, text } from "./scalars.ts";
import { launched } from "./services.ts";

const common = {
  ...launched,
  url: text.optional().meta({ description: "Use an engine that already runs there instead of launching one." }),
  slots: integer(1, 64).default(1).meta({ description: "Jobs it may run at once." }),
  host: text.default("127.0.0.1"),
  python: text.default("python3"),
  essential: flag.default(false),
  extraArgs: argv.default([]).meta({ description: "Appended to its arguments; layers add to each other." }),
  readiness: z
    .strictObject({
      period: duration.default(200),
      timeout: duration.default(120_000),
      startup: duration.default(1_800_000),
      logEvery: integer(0, 1_000_000).default(15),
    })
    .prefault({}),
};

/** AUTOMATIC1111's webui, launched as `python DIRECTORY/webui.py ARGS`. `args` is the whole argument list, word for word. */
export const a1111Engine = z.strictObject({
  ...common,
  kind: z.literal("a1111"),
  directory: text.default("/stable-diffusion-webui"),
  port: port.default(3000).meta({ description: "Must agree with --port in args." }),
  args: argv.default([]),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc").meta({ description: "Preload tcmalloc when the machine has it." }),
});

/** The bundled diffusers engine; it speaks the same API as A1111. */
export const diffusersEngine = z.strictObject({
  ...common,
  kind: z.literal("diffusers"),
  port: port.default(3000),
  model: text.optional().meta({ description: "A diffusers folder or a single .safetensors file of SD 1.5 or SDXL." }),
  modelsDir: text.optional().meta({ description: "A folder of models to choose from by override_settings.sd_model_checkpoint." }),
  tinyModel: flag.default(false).meta({ description: "Make a tiny random-weight SDXL on the spot when `model` does not exist." }),
  device: text.default("auto").meta({ description: "auto, cpu, cuda or cuda:N" }),
  dtype: z.enum(["auto", "float16", "bfloat16", "float32"]).default("auto").meta({ description: "auto: float16 on CUDA, float32 on CPU." }),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc"),
});

export const engine = z.discriminatedUnion("kind", [a1111Engine, diffusersEngine]);

export type A1111EngineConfig = z.output<typeof a1111Engine>;
export type DiffusersEngineConfig = z.output<typeof diffusersEngine>;
export type EngineConfig = z.output<typeof engine>;

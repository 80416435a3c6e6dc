import { z } from "zod";
import { argv, duration, flag, host, integer, port, sizeBytes, text, url, word } from "./scalars.ts";
import { engineLiveness } from "./process.ts";
import { launched } from "./services.ts";
import { modelFolders } from "./steps.ts";

const common = {
  ...launched,
  url: url.optional().meta({ description: "Use an engine that already runs there instead of launching one." }),
  slots: integer(1, 64).default(1).meta({ description: "Jobs it may run at once." }),
  host: host.default("127.0.0.1").meta({ description: "The address it listens on." }),
  python: word.default("python3").meta({ description: "The Python that runs it: a name on the PATH, or a path." }),
  essential: flag.default(false).meta({ description: "Its end ends the container, with its exit code." }),
  extraArgs: argv.default([]).meta({ description: "Appended to its arguments; layers add to each other." }),
  liveness: engineLiveness,
  readiness: z
    .strictObject({
      period: duration.default(200).meta({ description: "The wait between two tries." }),
      timeout: duration.default(120_000).meta({ description: "One try may take this long." }),
      startup: duration.default(1_800_000).meta({ description: "Not ready after this long is a failure; 0 = no limit." }),
      failures: integer(1, 1000).default(3).meta({ description: "Once ready: so many failed tries in a row, and it is not ready any more." }),
      watch: duration.default(10_000).meta({ description: "Once ready: the wait between two tries." }),
      logEvery: integer(0, 1_000_000).default(15).meta({ description: "A log line every so many failed tries; 0 = never." }),
    })
    .prefault({})
    .meta({ description: "The timing of its readiness probe, which asks the engine's own API." }),
};

/** AUTOMATIC1111's webui, launched as `python DIRECTORY/webui.py ARGS`. `args` is the whole argument list, word for word. */
export const a1111Engine = z.strictObject({
  ...common,
  kind: z.literal("a1111").meta({ description: "AUTOMATIC1111's webui." }),
  directory: word.default("/stable-diffusion-webui").meta({ description: "The webui's folder; its webui.py is run there." }),
  port: port.default(3000).meta({ description: "Must agree with --port in args." }),
  args: argv.default([]).meta({ description: "The whole argument list after webui.py, word for word; a layer's list replaces the one below." }),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc").meta({ description: "Preload tcmalloc when the machine has it." }),
});

/** The bundled diffusers engine; it speaks the same API as A1111. */
export const diffusersEngine = z.strictObject({
  ...common,
  kind: z.literal("diffusers").meta({ description: "The bundled engine over the diffusers library." }),
  port: port.default(3000).meta({ description: "The TCP port it listens on; 0 lets the system choose." }),
  model: word.optional().meta({ description: "A diffusers folder or a single .safetensors file of SD 1.5 or SDXL." }),
  modelsDir: word.optional().meta({ description: "A folder of models to choose from by override_settings.sd_model_checkpoint." }),
  templates: word.optional().meta({
    description: "templates.json (or YAML): checkpoints with LoRAs that a job names as `template`. Missing files are downloaded into modelsDir.",
  }),
  defaultTemplate: word.optional().meta({ description: "For jobs that name no template; unless given, `model`, else the first one." }),
  mergedDirs: z
    .array(word)
    .default([])
    .meta({ description: "Folders that `fettle merge` wrote to: a template's merged model there is used when its recipe is the same." }),
  keepMerged: flag
    .default(false)
    .meta({ description: "After a template's first job with LoRAs put on at run time, merge it in the background into the last of mergedDirs." }),
  vae: text
    .default("")
    .meta({ description: "A VAE for SDXL models whose own needs float32: a file, a folder, hf:OWNER/REPO/FILE or https URL. With templates only." }),
  modelMemory: z
    .union([z.literal("auto"), sizeBytes], { error: "expected auto, or a size such as 20GB" })
    .default(0)
    .meta({
      description: "Models are kept on the device while they fit into this together; the one not used for longest goes. auto: 70 % of a GPU. 0: one at a time.",
    }),
  defaults: z
    .record(word, z.unknown())
    .default({})
    .meta({ description: "Parameters in A1111's names, such as steps, for jobs that do not say otherwise; a template's own `parameters` win over them." }),
  tinyModel: flag.default(false).meta({ description: "Make a tiny random-weight SDXL on the spot when `model` does not exist." }),
  device: word.default("auto").meta({ description: "auto, cpu, cuda or cuda:N" }),
  dtype: z.enum(["auto", "float16", "bfloat16", "float32"]).default("auto").meta({ description: "auto: float16 on CUDA, float32 on CPU." }),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc").meta({ description: "Preload tcmalloc when the machine has it." }),
});

/** The user's own handler file, in a Python process of fettle's. */
export const pythonEngine = z.strictObject({
  ...common,
  kind: z.literal("python").meta({ description: "A handler.py of your own, as RunPod's SDK runs it." }),
  handler: z
    .union([word, z.array(word).min(1)], { error: "expected the path of a Python file, or a list of paths" })
    .default("handler.py")
    .meta({ description: "The file: it calls runpod.serverless.start, or has a function named handler. Of a list the first that exists." }),
  slots: integer(1, 64).default(1).meta({
    description:
      "Jobs at once. With 1 a sync handler always runs in the main thread, else each job has a thread; concurrency_modifier decides for an async one.",
  }),
  port: port.default(0).meta({ description: "The TCP port it listens on; 0 lets the system choose." }),
  reload: flag
    .default(false)
    .meta({ description: "Load the file again when it, or a module beside it, has changed; a broken file answers jobs with its error. For development." }),
  cwd: word.optional().meta({ description: "Its working directory; fettle's own unless given." }),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc").meta({ description: "Preload tcmalloc when the machine has it." }),
});

/** ComfyUI, launched as `python main.py --listen HOST --port PORT …` in its folder. */
export const comfyuiEngine = z.strictObject({
  ...common,
  kind: z.literal("comfyui").meta({ description: "ComfyUI." }),
  directory: word.default("/ComfyUI").meta({ description: "Its folder; main.py is run there." }),
  port: port.default(8188).meta({ description: "The TCP port it listens on; 0 lets the system choose." }),
  args: argv.default([]).meta({ description: "Arguments after --listen and --port; a layer's list replaces the one below." }),
  preview: z.enum(["none", "auto", "latent2rgb", "taesd"]).optional().meta({
    description: "Pictures of each step (--preview-method), for jobs that somebody watches. Unless given, as ComfyUI does it: newer ones when asked.",
  }),
  models: word
    .optional()
    .meta({ description: "A folder of models besides its own, such as a volume's; it comes first. Every kind of ComfyUI's is looked for there." }),
  modelFolders,
  customNodes: word.optional().meta({ description: "A folder of custom nodes besides its own; made when it is missing." }),
  modelPathsFile: word
    .optional()
    .meta({ description: "Where the paths of `models` and `customNodes` are written for it; among fettle's own files unless given." }),
  instanceDir: word.optional().meta({
    description:
      "A folder where it keeps its user, temp and database files, under its name. Copies (replicas) of one ComfyUI have one each in stateDir unless given.",
  }),
  workflows: word
    .optional()
    .meta({ description: "A folder of named workflows: NAME.json in API format, with NAME.yaml that says which parameter goes where." }),
  checkpoint: word.optional().meta({ description: "The checkpoint of jobs that name none; the first one it has unless given." }),
  comfyOrgApiKey: text.default("").meta({ description: "The key that nodes of comfy.org's paid API get, when the job brings none." }),
  promptVia: z.enum(["http", "websocket"]).default("http").meta({
    description: "How prompts are sent: POST /prompt, which every version takes, or over the WebSocket, as stakeordie's fork has it.",
  }),
  warmUp: word.optional().meta({ description: "A job as JSON (a workflow, or an input): run once before the first job, after each start." }),
  allocator: z.enum(["tcmalloc", "none"]).default("tcmalloc").meta({ description: "Preload tcmalloc when the machine has it." }),
});

export const engine = z.discriminatedUnion("kind", [a1111Engine, diffusersEngine, pythonEngine, comfyuiEngine]);

export type A1111EngineConfig = z.output<typeof a1111Engine>;
export type DiffusersEngineConfig = z.output<typeof diffusersEngine>;
export type PythonEngineConfig = z.output<typeof pythonEngine>;
export type ComfyuiEngineConfig = z.output<typeof comfyuiEngine>;
export type EngineConfig = z.output<typeof engine>;

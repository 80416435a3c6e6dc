import { join } from "node:path";
import type { DiffusersEngineConfig } from "../../config/schema/index.ts";
import type { LaunchFacts, Launcher } from "../../plan/launch.ts";
import { engineProbe, httpUrl } from "../../plan/probe.ts";

export const diffusersLauncher: Launcher<DiffusersEngineConfig> = {
  // Of A1111's own API, so that a `url` may point at either.
  readinessPath: "/sdapi/v1/sd-models",
  settings: ({ templates, defaultTemplate, defaults, model }) =>
    templates === undefined && Object.keys(defaults).length === 0
      ? undefined
      : { ...(templates !== undefined && { templates }), ...(defaultTemplate !== undefined && { defaultTemplate }), defaults, hasModel: model !== undefined },
  paths: (config, folders) => (config.tinyModel ? [modelOf(config, folders) ?? ""] : []),
  launch(name, config, facts) {
    const model = modelOf(config, facts);
    // A source may hold a user or a token: not for the command line.
    const vae = config.templates === undefined || config.vae === "" ? {} : { FETTLE_TEMPLATE_VAE: config.vae };
    const env = { PYTHONUNBUFFERED: "true", ...threads(facts), ...vae };
    return {
      argv: [config.python, "-u", join(facts.assetDir, "engine.py"), ...argumentsOf(config, facts, model)],
      env,
      // Ready once the model is loaded, which --preload asks for; listening alone would let jobs wait for 10 s of imports.
      readiness: engineProbe(config, `${httpUrl(config.host, facts.port)}/internal/ready`),
      ...(config.tinyModel && model !== undefined && !facts.exists(model) && { tasks: [tinyModelTask(`${name}-model`, config, model, facts)] }),
    };
  },
};

function argumentsOf(config: DiffusersEngineConfig, facts: LaunchFacts, model: string | undefined): string[] {
  return [
    "--host",
    config.host,
    "--port",
    String(facts.port),
    ...(model === undefined ? [] : ["--model", model]),
    ...(config.modelsDir === undefined ? [] : ["--models-dir", config.modelsDir]),
    "--device",
    config.device,
    "--dtype",
    config.dtype,
    "--preload",
    ...(config.modelMemory === 0 ? [] : ["--model-memory", config.modelMemory === "auto" ? "auto" : String(Math.ceil(config.modelMemory / 2 ** 20))]),
    ...(config.templates === undefined ? [] : templateArguments(config, config.templates, facts, model)),
    ...config.extraArgs,
  ];
}

/** The engine asks this very program for a template's files: downloads and locks are its business. */
function templateArguments(config: DiffusersEngineConfig, templates: string, facts: LaunchFacts, model: string | undefined): string[] {
  const modelsDir = config.modelsDir ?? facts.modelsDir;
  const resolver = [
    ...facts.selfArgv,
    "template",
    "--file",
    templates,
    "--models-dir",
    modelsDir,
    ...config.mergedDirs.flatMap((dir) => ["--merged-dir", dir]),
  ];
  const first = model === undefined ? ["--template", config.defaultTemplate ?? ""] : [];
  return ["--templates", templates, "--template-resolver", JSON.stringify(resolver), ...first, ...(config.keepMerged ? ["--keep-merged"] : [])];
}

/** The model to load first. A tiny one without a place of its own is kept among fettle's. */
function modelOf({ model, tinyModel }: DiffusersEngineConfig, { modelsDir }: Pick<LaunchFacts, "modelsDir">): string | undefined {
  return model ?? (tinyModel ? join(modelsDir, "tiny-sdxl") : undefined);
}

function tinyModelTask(name: string, { python }: DiffusersEngineConfig, model: string, { assetDir }: LaunchFacts) {
  return { name, argv: [python, "-u", join(assetDir, "tiny_model.py"), "--keep", model], env: {} };
}

/** torch counts the machine's CPUs, not the container's share; too many threads make it several times slower. */
function threads({ cpuLimit }: LaunchFacts): Record<string, string> {
  return cpuLimit === undefined ? {} : { OMP_NUM_THREADS: String(cpuLimit) };
}

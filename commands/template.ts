import { resolve } from "node:path";
import { defaultFolders } from "../src/config/defaults.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { errorToJson } from "../src/errors/print.ts";
import { readModelSettings } from "../src/models/settings.ts";
import { keepMerged } from "../src/templates/keep-merged.ts";
import { resolveTemplate } from "../src/templates/resolve-template.ts";
import { usualVaeOf } from "../src/templates/vae-for.ts";
import { type Command, textFlag } from "./command.ts";

export const command: Command = {
  name: "template",
  summary: "Find a template's files and download what is missing; the bundled engine asks",
  flags: [
    { usage: "--file <file>", summary: "templates.json" },
    { usage: "--name <name>", summary: "The template; empty: the first" },
    { usage: "--models-dir <dir>", summary: "Where downloads are kept, and relative paths are looked for" },
    { usage: "--merged-dir <dir>", summary: "Where merged models are looked for; may be repeated", repeat: true },
    { usage: "--base-only", summary: "Do not look for a merged model" },
    { usage: "--keep-merged", summary: "Merge it into the last --merged-dir instead, once for all machines on the volume" },
  ],
  examples: ["fettle template --file templates.json --models-dir /runpod-volume/models --name anime"],
  exits: ["1   there is no such template, or its files cannot be looked for"],
  async run(args, { env, cwd, out, signal }) {
    const needed = (key: string, flag: string): string => {
      const value = textFlag(args, key);
      if (value === undefined) throw new FettleError("cli.bad-value", `Cannot look for a template: ${flag} is missing.`);
      return value;
    };
    const say = (value: object) => out(`${JSON.stringify(value)}\n`);
    const [file, modelsDir] = [resolve(cwd, needed("file", "--file")), resolve(cwd, needed("modelsDir", "--models-dir"))];
    const name = textFlag(args, "name") ?? "";
    const mergedDirs = ((args.flags["mergedDir"] ?? []) as readonly string[]).map((dir) => resolve(cwd, dir));
    const stateDir = env["FETTLE_STATE_DIR"] || defaultFolders(env, process.getuid?.() ?? 0).stateDir;
    // Hidden from those who look for models in the folder: what lies there has no names of its own.
    const models = readModelSettings(env, { stateDir, cacheDir: resolve(modelsDir, ".fettle") });
    try {
      if (args.flags["keepMerged"] === true) {
        const python = env["FETTLE_PYTHON"] || "python3";
        const outDir = mergedDirs.at(-1) ?? resolve(modelsDir, "merged");
        const merged = await keepMerged(name, { file, cwd, outDir, python, assetRoot: resolve(stateDir, "assets"), env, models, signal });
        say({ type: "template", name, merged: merged ?? null });
        return 0;
      }
      const options = {
        file,
        cwd,
        modelsDir,
        mergedDirs,
        vae: usualVaeOf(env["FETTLE_TEMPLATE_VAE"]),
        baseOnly: args.flags["baseOnly"] === true,
        models,
        signal,
      };
      say({ type: "template", ...(await resolveTemplate(name, { ...options, onEvent: say })) });
      return 0;
    } catch (error) {
      if (!(error instanceof FettleError)) throw error;
      say({ type: "error", ...errorToJson(error) });
      return 1;
    }
  },
};

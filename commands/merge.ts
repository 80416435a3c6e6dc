import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { defaultFolders } from "../src/config/defaults.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { createLog } from "../src/log/log.ts";
import { secretsOf } from "../src/log/mask.ts";
import type { Coverage } from "../src/merge/merge-request.ts";
import type { RecipeResult } from "../src/merge/run-recipe.ts";
import { readModelSettings } from "../src/models/settings.ts";
import { type Args, type Command, type Io, numberFlag, textFlag } from "./command.ts";
import { describeCoverage } from "./coverage-table.ts";
import { templatesOf } from "./merge-flags.ts";
import { showMergeProgress } from "./merge-progress.ts";

export const command: Command = {
  name: "merge",
  summary: "Fuse LoRAs into checkpoints",
  positionals: "[recipe]",
  flags: [
    { usage: "--base <source>", summary: "The checkpoint: a file, hf:OWNER/REPO/FILE@REV, civitai:VERSION_ID or a URL" },
    { usage: "--lora <source[:scale]>", summary: "A LoRA and its strength, default 1; also :unet=, :te=, :lbw=, :sha256=; may be repeated", repeat: true },
    { usage: "--vae <source>", summary: "A VAE that takes the place of the checkpoint's own" },
    { usage: "--config-dir <folder>", summary: "For a folder as output: a diffusers folder that has what the checkpoint's file lacks" },
    { usage: "--out <path>", summary: "The merged file or folder; with a recipe, the folder for its outputs (default: the recipe's folder/merged)" },
    { usage: "--output-format <format>", summary: "single (default) or diffusers, a folder for from_pretrained" },
    { usage: "--dtype <dtype>", summary: "keep (default), fp16, bf16, fp32, fp8_e4m3fn or fp8_e5m2" },
    { usage: "--only <name>", summary: "Of a recipe's templates this one; may be repeated", repeat: true },
    { usage: "--allow-unmatched", summary: "Merge even when some modules of a LoRA match nothing" },
    { usage: "--dry-run", summary: "Check everything and show what would change; fetch and write nothing" },
    { usage: "--force", summary: "Merge even when the output is there already" },
    { usage: "--verify", summary: "Afterwards look for NaN and Inf, and compute some tensors again" },
    { usage: "--cache <folder>", summary: "Where fetched models are kept; default: FETTLE_MODEL_CACHE, else models in the state folder" },
    { usage: "--python <path>", summary: "Python with numpy; default: FETTLE_PYTHON, else python3" },
    { usage: "--threads <n>", summary: "Threads that compute; default: the CPUs, at most 4" },
  ],
  examples: [
    "fettle merge --base sdxl.safetensors --lora style.safetensors:0.8 --out merged.safetensors",
    "fettle merge --base hf:OWNER/REPO/FILE.safetensors@main --lora civitai:12345:0.6 --out merged --output-format diffusers --dtype fp16",
    "fettle merge templates.json --out /models/merged",
  ],
  exits: [
    "1   something was not fetched or not merged; what is named as written is whole",
    "3   Python or numpy is missing",
    "130 interrupted; nothing is left half",
  ],
  async run(args, io) {
    const templates = await templatesOf(args, io.cwd);
    // The environment's tokens, should a server ever repeat one in what it says.
    const log = createLog({ secrets: secretsOf(io.env) });
    if (templates.length === 0) log.warn("The recipe has no template with something to merge.");
    const { runRecipe } = await import("../src/merge/run-recipe.ts");
    using progress = showMergeProgress(log, { templates: templates.length });
    try {
      const result = await runRecipe(templates, { ...settingsOf(args, io), onEvent: (event) => progress.onEvent(event) });
      progress[Symbol.dispose]();
      return await tell(result, args, io);
    } catch (error) {
      if (io.signal.aborted) return 130;
      throw error;
    }
  },
};

function settingsOf(args: Args, io: Io) {
  const stateDir = io.env["FETTLE_STATE_DIR"] || defaultFolders(io.env, process.getuid?.() ?? 0).stateDir;
  const cache = textFlag(args, "cache");
  return {
    python: textFlag(args, "python") ?? (io.env["FETTLE_PYTHON"] || "python3"),
    assetRoot: join(stateDir, "assets"),
    env: io.env,
    dryRun: args.flags["dryRun"] === true,
    allowUnmatched: args.flags["allowUnmatched"] === true,
    force: args.flags["force"] === true,
    verify: args.flags["verify"] === true,
    threads: numberFlag(args, "threads", { min: 1, max: 64 }) ?? Math.min(4, cpus().length),
    models: readModelSettings(io.env, { stateDir, cacheDir: cache === undefined ? undefined : resolve(io.cwd, cache) }),
    signal: io.signal,
  };
}

/** What was done on stdout, what failed as the error it is. */
async function tell({ reports, failures, fetched }: RecipeResult, args: Args, io: Io): Promise<number> {
  const [first, ...others] = failures;
  if (args.flags["json"] === true) {
    const { errorToJson } = await import("../src/errors/print.ts");
    const models = fetched.map(({ source, result }) => (result instanceof FettleError ? { source, error: errorToJson(result) } : { source, ...result }));
    const failed = failures.map(({ name, error }) => ({ name, error: errorToJson(error) }));
    io.out(`${JSON.stringify({ merges: reports, models, ...(first && { failed, error: errorToJson(first.error) }) })}\n`);
  } else for (const { out, written, upToDate } of reports) if (written || upToDate) io.out(`${out}\n`);
  for (const { name, coverage } of args.flags["dryRun"] === true ? reports : []) talk(coverage.length > 0 ? [name, ...coverageLines(coverage)] : []);
  if (!first) return 0;
  const { formatError } = await import("../src/errors/print.ts");
  for (const { error } of [first, ...others])
    talk([formatError(error, process.stderr.columns ?? 80), ...coverageLines((error.details["coverage"] ?? []) as readonly Coverage[])]);
  return first.error.exitCode;
}

const coverageLines = (coverage: readonly Coverage[]) => (coverage.length > 0 ? describeCoverage(coverage).map((row) => `    ${row}`) : []);

function talk(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${line}\n`);
}

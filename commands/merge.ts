import { cpus } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { defaultFolders } from "../src/config/defaults.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { createLog } from "../src/log/log.ts";
import type { MergeReport, MergeRequest } from "../src/merge/merge-request.ts";
import { parseLora } from "../src/merge/parse-lora.ts";
import { loadRecipe } from "../src/merge/recipe.ts";
import { runMerge } from "../src/merge/run-merge.ts";
import { formatDuration } from "../src/util/duration.ts";
import { type Args, type Command, numberFlag, textFlag } from "./command.ts";
import { startSpinner } from "./spinner.ts";

export const command: Command = {
  name: "merge",
  summary: "Fuse LoRAs into checkpoints",
  positionals: "[recipe]",
  flags: [
    { usage: "--base <file>", summary: "The checkpoint: one .safetensors file of SD 1.5 or SDXL" },
    { usage: "--lora <file[:scale]>", summary: "A LoRA and its strength, default 1; may be repeated", repeat: true },
    { usage: "--out <path>", summary: "The merged file; with a recipe, the folder for its outputs (default: the recipe's folder/merged)" },
    { usage: "--allow-unmatched", summary: "Merge even when some modules of a LoRA match nothing" },
    { usage: "--dry-run", summary: "Check everything and show what would change; write nothing" },
    { usage: "--verify", summary: "Afterwards look for NaN and Inf, and compute some tensors again" },
    { usage: "--threads <n>", summary: "Threads that compute; default: the CPUs, at most 4" },
  ],
  examples: ["fettle merge --base sdxl.safetensors --lora style.safetensors:0.8 --out merged.safetensors", "fettle merge templates.json --out /models/merged"],
  exits: ["1   a merge failed; its output was not written", "3   Python or numpy is missing"],
  async run(args, io) {
    const requests = requestsOf(args, io.cwd);
    const log = createLog();
    const options = {
      python: io.env["FETTLE_PYTHON"] || "python3",
      assetRoot: join(io.env["FETTLE_STATE_DIR"] || defaultFolders(io.env, process.getuid?.() ?? 0).stateDir, "assets"),
      env: io.env,
      dryRun: args.flags["dryRun"] === true,
      allowUnmatched: args.flags["allowUnmatched"] === true,
      verify: args.flags["verify"] === true,
      threads: numberFlag(args, "threads", { min: 1, max: 64 }) ?? Math.min(4, cpus().length),
      signal: io.signal,
    };
    const reports: MergeReport[] = [];
    for (const request of requests) {
      using spinner = startSpinner(`Merging ${request.name}`, log);
      const onProgress = (done: number, total: number) => spinner.update(`Merging ${request.name}: ${Math.floor((100 * done) / Math.max(1, total))} %`);
      const report = await runMerge(request, { ...options, onProgress });
      reports.push(report);
      spinner.succeed(describe(report));
    }
    if (requests.length === 0) log.warn("The recipe has no template with LoRAs: nothing to merge.");
    if (args.flags["json"] === true) io.out(`${JSON.stringify({ merges: reports })}\n`);
    else for (const report of reports) if (report.written) io.out(`${report.out}\n`);
    return 0;
  },
};

function requestsOf(args: Args, cwd: string): MergeRequest[] {
  const [recipe] = args.positionals;
  const base = textFlag(args, "base");
  const out = textFlag(args, "out");
  const loras = (args.flags["lora"] ?? []) as readonly string[];
  if (recipe !== undefined) {
    if (base !== undefined || loras.length > 0) throw new FettleError("cli.bad-value", "Cannot run merge: a recipe and --base or --lora exclude each other.");
    const path = resolve(cwd, recipe);
    return loadRecipe(path, { outDir: out === undefined ? join(dirname(path), "merged") : resolve(cwd, out) });
  }
  if (base === undefined || loras.length === 0 || out === undefined) {
    throw new FettleError("cli.bad-value", "Cannot run merge: give a recipe, or --base, --lora and --out.");
  }
  const parsed = loras.map(parseLora).map(({ source, scale }) => ({ path: resolve(cwd, source), unet: scale, te: scale }));
  return [{ name: basename(out), base: resolve(cwd, base), loras: parsed, out: resolve(cwd, out) }];
}

function describe({ name, changedTensors, tensors, coverage, written, afterMs }: MergeReport): string {
  const parts = coverage.map(({ lora, matched, unmatched, skipped }) => {
    const counts = Object.entries(matched).map(([part, count]) => `${part} ${count}`);
    return `${basename(lora)}: ${[...counts, ...(unmatched ? [`${unmatched} unmatched`] : []), ...(skipped.length > 0 ? [`${skipped.length} skipped`] : [])].join(", ")}`;
  });
  const verb = written ? `merged in ${formatDuration(afterMs ?? 0)}` : "would be merged";
  return `${name} ${verb}: ${changedTensors} of ${tensors} tensors changed (${parts.join("; ")})`;
}

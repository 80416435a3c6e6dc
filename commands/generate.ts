import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../src/config/schema/index.ts";
import type { EngineOutput } from "../src/engines/engine.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { askInstance } from "../src/generate/ask-instance.ts";
import { bootEngine } from "../src/generate/boot-engine.ts";
import { type JobBody, readJobFile } from "../src/generate/read-job.ts";
import { runHere } from "../src/generate/run-here.ts";
import { type Answer, checkOut, readAnswer, writeImages } from "../src/generate/write-images.ts";
import { createLog, resolveFormat } from "../src/log/log.ts";
import { useEngineAt } from "../src/plan/engine-at.ts";
import { parseDuration } from "../src/util/duration.ts";
import { type Args, type Command, type Io, numberFlag, textFlag } from "./command.ts";
import { configFlags, loadFromArgs } from "./load-config.ts";
import { startSpinner } from "./spinner.ts";

export const command: Command = {
  name: "generate",
  summary: "Make one image from a shell or a script, no server needed",
  flags: [
    { usage: "--prompt <text>", summary: "What the image shows" },
    { usage: "--negative <text>", summary: "What it must not show" },
    { usage: "--steps <n>", summary: "Denoising steps" },
    { usage: "--cfg <n>", summary: "How closely it follows the prompt" },
    { usage: "--width <px>", summary: "A multiple of 8" },
    { usage: "--height <px>", summary: "A multiple of 8" },
    { usage: "--seed <n>", summary: "The same seed makes the same image; -1 is random" },
    { usage: "--sampler <name>", summary: 'Such as "DPM++ 2M Karras"' },
    { usage: "--input <file>", summary: "A job as JSON, or - for stdin; the flags above win over it" },
    { usage: "--workflow <file>", summary: "A ComfyUI workflow" },
    { usage: "--template <name>", summary: "A template of the configuration" },
    { usage: "--url <url>", summary: "Ask this running instance (its job API) instead of booting an engine" },
    { usage: "--engine-url <url>", summary: "Use the engine that runs there instead of launching one" },
    { usage: "--out <path>", summary: "A file, or a folder (it exists or ends with /); default ./fettle-SEED-INDEX.png" },
    { usage: "--timeout <duration>", summary: "The whole may take this long, such as 10m; default: as long as it takes" },
    ...configFlags,
  ],
  examples: [
    'fettle generate --prompt "a photograph of an astronaut riding a horse" --steps 25',
    "fettle generate --input test_input.json --out astronaut.png",
    'fettle generate --url http://127.0.0.1:8000 --prompt "a castle" --json',
  ],
  exits: ["1   no image was made", "3   a program is missing", "130 interrupted"],
  run: generate,
};

interface Made {
  readonly output: EngineOutput;
  readonly timings: Readonly<Record<string, number>>;
}

async function generate(args: Args, io: Io): Promise<number> {
  const loaded = loadFromArgs(args, io);
  const config = useEngineAt(loaded.config, textFlag(args, "engineUrl"));
  refuseForeignDialects(args, config);
  const input = readInput(args, config);
  const limit = timeLimit(args);
  const place = { out: textFlag(args, "out"), cwd: io.cwd };
  checkOut(place);
  const signal = limit === undefined ? io.signal : AbortSignal.any([io.signal, AbortSignal.timeout(limit)]);
  const log = createLog({ format: config.log.format, level: config.log.level, secrets: loaded.secrets });
  // What counts is the image: how the engine boots is shown only when asked, and its failure is the error at the end.
  const bootLog = textFlag(args, "logLevel") === undefined ? createLog({ write: () => undefined }) : log;
  const dir = mkdtempSync(join(tmpdir(), "fettle-images-"));
  const startedMs = performance.now();
  const url = textFlag(args, "url");
  try {
    using spinner = startSpinner(url === undefined ? "Starting the engine" : `Asking ${url}`, log);
    const made = url === undefined ? await makeHere() : await makeThere(url);
    const answer = readAnswer(made.output);
    const images = writeImages(made.output, answer, place);
    for (const warning of made.output.warnings) log.warn(warning);
    spinner.succeed(`${images.length} ${images.length === 1 ? "image" : "images"} in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    const timings = { ...made.timings, totalMs: Math.round(performance.now() - startedMs) };
    print(args, io, images, answer, timings);
    return 0;

    async function makeHere(): Promise<Made> {
      await using booted = await bootEngine({
        config,
        profile: loaded.profile,
        env: io.env,
        log: bootLog,
        logFormat: resolveFormat(config.log.format),
        signal,
      });
      const bootMs = Math.round(performance.now() - startedMs);
      spinner.update("Generating");
      const onProgress = ({ fraction }: { fraction: number }) => spinner.update(`Generating, ${Math.round(fraction * 100)} %`);
      const { output, engineMs } = await runHere({ engine: booted.engine, config, input, dir, signal, onProgress });
      return { output, timings: { bootMs, engineMs: Math.round(engineMs) } };
    }

    async function makeThere(there: string): Promise<Made> {
      const apiKey = config.sources.http?.apiKey || io.env["FETTLE_API_KEY"] || "";
      const { output, engineMs } = await askInstance({ url: there, apiKey, input, config, dir, signal });
      return { output, timings: { engineMs: Math.round(engineMs) } };
    }
  } catch (error) {
    // A job that is called off ends in many ways; why it was called off is what counts.
    if (io.signal.aborted) return 130;
    if (signal.aborted) throw new FettleError("engine.timeout", `Cannot generate: no image after --timeout ${textFlag(args, "timeout")}.`, { cause: error });
    throw error;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function print(args: Args, io: Io, images: ReturnType<typeof writeImages>, { parameters, info }: Answer, timings: Made["timings"]): void {
  if (args.flags["json"]) io.out(`${JSON.stringify({ images, parameters, info, timings })}\n`);
  else for (const { path } of images) io.out(`${path}\n`);
}

/** A1111's names for the flags. */
function readInput(args: Args, config: Config): JobBody {
  const file = textFlag(args, "input");
  const given: Record<string, unknown> = {
    prompt: textFlag(args, "prompt"),
    negative_prompt: textFlag(args, "negative"),
    steps: numberFlag(args, "steps", { min: 1, max: 10_000 }),
    cfg_scale: numberFlag(args, "cfg", { min: 0, max: 1000, integer: false }),
    width: numberFlag(args, "width", { min: 8, max: 16_384, multipleOf: 8 }),
    height: numberFlag(args, "height", { min: 8, max: 16_384, multipleOf: 8 }),
    seed: numberFlag(args, "seed", { min: -1, max: 2 ** 53 - 1 }),
    sampler_name: textFlag(args, "sampler"),
  };
  if (file === undefined && given["prompt"] === undefined) {
    throw new FettleError("cli.bad-value", "Cannot generate: neither --prompt nor --input was given.", { hint: 'Try `fettle generate --prompt "a castle"`.' });
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...(file !== undefined && readJobFile(file, config.jobs)), ...set };
}

/** Workflows and templates belong to other kinds of engines; an engine that does not know them would make some other image. */
function refuseForeignDialects(args: Args, config: Config): void {
  const [name, engine] = Object.entries(config.engines).find(([, { enabled }]) => enabled) ?? [];
  const whose = engine === undefined ? "there is no engine" : `the engine "${name}" is of kind ${engine.kind}, which takes A1111's txt2img fields`;
  if (textFlag(args, "workflow") !== undefined) {
    throw new FettleError("job.invalid", `Cannot use --workflow: ${whose}.`, {
      hint: "Only engines of kind comfyui run workflows; this configuration has none.",
    });
  }
  const template = textFlag(args, "template");
  if (template !== undefined) {
    throw new FettleError("job.invalid", `Cannot use --template ${template}: the configuration declares no templates.`, {
      hint: "Only engines of kind diffusers take templates, once the configuration declares them.",
    });
  }
}

function timeLimit(args: Args): number | undefined {
  const text = textFlag(args, "timeout");
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0 && ms < 2 ** 31) return ms;
  throw new FettleError("cli.bad-value", `Cannot use --timeout ${text}: expected a duration with its unit, such as 90s or 10m.`);
}

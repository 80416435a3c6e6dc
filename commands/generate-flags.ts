import { readFileSync } from "node:fs";
import { basename, dirname, extname, resolve } from "node:path";
import type { Config } from "../src/config/schema/index.ts";
import { FettleError, reasonOf } from "../src/errors/fettle-error.ts";
import type { JobBody } from "../src/generate/job.ts";
import type { Existing } from "../src/generate/write-images.ts";
import { parseDuration } from "../src/util/duration.ts";
import { type Args, type Flag, type Io, numberFlag, textFlag } from "./command.ts";

export const generateFlags: readonly Flag[] = [
  { usage: "--prompt <text>", summary: "What the image shows" },
  { usage: "--negative <text>", summary: "What it must not show" },
  { usage: "--steps <n>", summary: "Denoising steps" },
  { usage: "--cfg <n>", summary: "How closely it follows the prompt" },
  { usage: "--width <px>", summary: "A multiple of 8" },
  { usage: "--height <px>", summary: "A multiple of 8" },
  { usage: "--seed <n>", summary: "The same seed makes the same image; default -1, random (the result tells which)" },
  { usage: "--sampler <name>", summary: 'Such as "DPM++ 2M Karras"' },
  { usage: "--input <file>", summary: "A job as JSON, or - for stdin; the flags above win over it" },
  { usage: "--jobs <file>", summary: "Many jobs, one JSON object a line, or - for stdin; the flags above win over each" },
  { usage: "--resume", summary: "With --jobs: skip what a former run finished" },
  { usage: "--fail-fast", summary: "With --jobs: stop at the first job that fails" },
  { usage: "--concurrency <n>", summary: "With --jobs: so many at a time; default and limit: what the engine takes at once" },
  { usage: "--workflow <file>", summary: "A ComfyUI workflow in API format; the flags above fill it, by FILE.yaml beside it or by themselves" },
  { usage: "--template <name>", summary: "A template of the configuration" },
  { usage: "--url <url>", summary: "Ask this running instance (its job API) instead of booting an engine; $FETTLE_API_KEY is its key" },
  { usage: "--engine-url <url>", summary: "Use the engine that runs there instead of launching one" },
  { usage: "--out <path>", summary: "A file, a folder (it exists or ends with /), or a name with words such as out/{seed}-{index}.png; see docs/generate.md" },
  { usage: "--format <format>", summary: "png, jpeg or webp; default: as the engine makes them" },
  { usage: "--quality <n>", summary: "1 to 100, for jpeg and webp" },
  { usage: "--existing <rule>", summary: "A file that is there: replace it, add a number, or fail; default replace for a name, number in a folder" },
  { usage: "--timeout <duration>", summary: "The whole may take this long, such as 10m; default: as long as it takes" },
  { usage: "--job-timeout <duration>", summary: "One job may take this long" },
];

/** What the command line asks for, checked. */
export interface Request {
  readonly url: string | undefined;
  readonly engineUrl: string | undefined;
  readonly apiKey: string;
  /** The folder of --workflow's file, for an engine of our own. */
  readonly workflows: string | undefined;
  /** Where jobs are read from; undefined: the flags are the job. */
  readonly source: { readonly path: string; readonly mode: "look" | "many" } | undefined;
  /** Fields of the flags, in A1111's names; they win over the file's. */
  readonly fields: JobBody;
  readonly out: string | undefined;
  readonly existing: Existing | undefined;
  readonly resume: boolean;
  readonly failFast: boolean;
  readonly concurrency: number | undefined;
  readonly timeoutMs: number | undefined;
  readonly jobTimeoutMs: number | undefined;
  readonly json: boolean;
}

export function readRequest(args: Args, io: Io, config: Config): Request {
  const url = textFlag(args, "url");
  const engineUrl = textFlag(args, "engineUrl");
  if (url !== undefined && engineUrl !== undefined) throw bad("Cannot use --url and --engine-url together: each names what shall make the images.");
  if (textFlag(args, "template") !== undefined && url === undefined) checkTemplates(args, config);
  const [input, jobs] = [textFlag(args, "input"), textFlag(args, "jobs")];
  if (input !== undefined && jobs !== undefined) throw bad("Cannot use --input and --jobs together: name one of them.");
  const path = jobs ?? input;
  const given = readFields(args);
  const workflow = readWorkflow(args, io, { fills: path !== undefined || Object.keys(given).some((key) => key !== "format" && key !== "quality") });
  const fields = { ...given, ...workflow?.fields };
  if (input === undefined && jobs === undefined && fields["prompt"] === undefined && fields["workflow"] === undefined)
    throw new FettleError("cli.bad-value", "Cannot generate: none of --prompt, --input and --jobs was given.", {
      hint: 'Try `fettle generate --prompt "a castle"`.',
    });
  const mode = jobs !== undefined || /\.(jsonl|ndjson)$/i.test(input ?? "") ? "many" : "look";
  return {
    url,
    engineUrl,
    workflows: url === undefined ? workflow?.folder : undefined,
    apiKey: config.sources.http?.apiKey || io.env["FETTLE_API_KEY"] || "",
    source: path === undefined ? undefined : { path: path === "-" ? path : resolve(io.cwd, path), mode },
    fields,
    out: textFlag(args, "out"),
    existing: readExisting(args),
    resume: args.flags["resume"] === true,
    failFast: args.flags["failFast"] === true,
    concurrency: numberFlag(args, "concurrency", { min: 1, max: 64 }),
    timeoutMs: durationFlag(args, "timeout", "--timeout"),
    jobTimeoutMs: durationFlag(args, "jobTimeout", "--job-timeout"),
    json: args.flags["json"] === true,
  };
}

/** Flags that mean nothing for a single job. */
export function refuseManyFlags({ resume, failFast, concurrency }: Request): void {
  const flag = resume ? "--resume" : failFast ? "--fail-fast" : concurrency !== undefined ? "--concurrency" : undefined;
  if (flag !== undefined)
    throw new FettleError("cli.bad-value", `Cannot use ${flag}: there is only one job.`, { hint: "Give many with --jobs FILE, one JSON object a line." });
}

/** `jobs.jsonl` in the folder of the images → `.fettle-jobs.jsonl.state` there. */
export function statePath(base: string, source: string): string {
  return resolve(base, `.fettle-${source === "-" ? "stdin" : basename(source)}.state`);
}

/** A1111's names for the flags. */
function readFields(args: Args): JobBody {
  const given: Record<string, unknown> = {
    prompt: textFlag(args, "prompt"),
    negative_prompt: textFlag(args, "negative"),
    steps: numberFlag(args, "steps", { min: 1, max: 10_000 }),
    cfg_scale: numberFlag(args, "cfg", { min: 0, max: 1000, integer: false }),
    width: numberFlag(args, "width", { min: 8, max: 16_384, multipleOf: 8 }),
    height: numberFlag(args, "height", { min: 8, max: 16_384, multipleOf: 8 }),
    seed: numberFlag(args, "seed", { min: -1, max: 2 ** 53 - 1 }),
    sampler_name: textFlag(args, "sampler"),
    template: textFlag(args, "template"),
    format: readFormat(args),
    quality: numberFlag(args, "quality", { min: 1, max: 100 }),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The workflow itself, or its name when the job's fields shall fill it: the engine then finds it in its file's folder. */
function readWorkflow(args: Args, io: Io, { fills }: { fills: boolean }): { readonly fields: JobBody; readonly folder: string } | undefined {
  const given = textFlag(args, "workflow");
  if (given === undefined) return undefined;
  const path = resolve(io.cwd, given);
  const folder = dirname(path);
  try {
    const workflow: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof workflow !== "object" || workflow === null || Array.isArray(workflow)) throw new Error("it is no JSON object");
    if (!fills) return { fields: { workflow }, folder };
  } catch (error) {
    throw new FettleError("job.invalid", `Cannot read the workflow ${given}: ${reasonOf(error)}.`, { where: { file: given }, cause: error });
  }
  if (textFlag(args, "url") !== undefined)
    throw new FettleError("cli.bad-value", "Cannot fill --workflow for --url: an instance fills the workflows that it has itself.", {
      hint: 'Name one of them in a job: --input with {"workflow": "portrait", "prompt": "…"}.',
    });
  if (extname(path) !== ".json") throw bad(`Cannot use --workflow ${given}: its name must end with .json.`);
  return { fields: { workflow: basename(path, ".json") }, folder };
}

/** Which templates there are is looked at with the job; a running instance knows its own. */
function checkTemplates(args: Args, { engines }: Config): void {
  if (Object.values(engines).some((engine) => engine.kind === "diffusers" && engine.templates !== undefined)) return;
  throw new FettleError("job.invalid", `Cannot use --template ${textFlag(args, "template")}: the configuration declares no templates.`, {
    hint: "Only engines of kind diffusers take templates: engines.NAME.templates names their file.",
  });
}

function readExisting(args: Args): Existing | undefined {
  const rule = textFlag(args, "existing");
  if (rule === undefined || rule === "replace" || rule === "number" || rule === "fail") return rule;
  throw bad(`Cannot use --existing ${rule}: expected replace, number or fail.`);
}

function readFormat(args: Args): string | undefined {
  const format = textFlag(args, "format");
  if (format === undefined || ["png", "jpeg", "jpg", "webp"].includes(format)) return format;
  throw bad(`Cannot use --format ${format}: expected png, jpeg or webp.`);
}

function durationFlag(args: Args, key: string, flag: string): number | undefined {
  const text = textFlag(args, key);
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0 && ms < 2 ** 31) return ms;
  throw bad(`Cannot use ${flag} ${text}: expected a duration with its unit, such as 90s or 10m.`);
}

const bad = (message: string): FettleError => new FettleError("cli.bad-value", message);

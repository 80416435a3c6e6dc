import type { JobFault, JobInput } from "../job.ts";
import { type Gathered, gatherImages, type GatherLimits } from "./gather.ts";
import { isUrl } from "./image-slots.ts";
import { findPrivateBucket } from "./job-bucket.ts";
import { type Body, invalid, type Invalid, isInvalid } from "./invalid.ts";
import { findUnknownKeys } from "./keys.ts";
import { readDeadline, takeOptions } from "./own-options.ts";
import { type EngineRequest, type Prepare, type PreparedJob, usualOptions } from "./prepare.ts";
import { type ReadJob, readJob, type ReadRules, type SdapiJob } from "./read-job.ts";
import { mergeBodies, type TemplateBook } from "./templates.ts";

export interface PrepareConfig extends ReadRules {
  /** What becomes of keys that the engine ignores. */
  readonly unknownKeys: "warn" | "refuse" | "off";
  readonly maxInput: number;
  readonly inputs: {
    readonly urls: boolean;
    readonly maxBytes: number;
    readonly maxFiles: number;
    readonly maxPixels: number;
    readonly timeout: number;
    readonly allowPrivate: boolean;
    readonly allowHosts: readonly string[];
  };
}

export interface Preparer {
  readonly prepare: Prepare;
  /** It names files to be fetched, or a host to be looked up: it must not hold an engine meanwhile. */
  fetches(job: JobInput): boolean;
  /** What can be said of it at once, before it is accepted; nothing is fetched. */
  check(job: Pick<JobInput, "input" | "extra">): JobFault | undefined;
}

const sdapiKinds = new Set(["a1111", "diffusers"]);
/** Their jobs are code's own matter, down to the last key. */
const rawKinds = new Set(["python"]);
const mostUnknown = 10;
/** No byte for so long while a file is fetched. */
const silenceMs = 10_000;

/** `kinds`: those of the engines that jobs may reach; a job is only read for them. `templates`: what the bundled engine's jobs may name. */
export function createPreparer(config: PrepareConfig, kinds: readonly string[], templates?: TemplateBook): Preparer {
  const rules = { ...config, templates };
  const isRead = kinds.some((kind) => !rawKinds.has(kind));
  const { timeout, ...inputs } = config.inputs;
  const limits: GatherLimits = { ...inputs, timeoutMs: timeout, silenceMs, maxTotalBytes: config.maxInput };

  const gather = async ({ options: { bucket }, body, slots }: ReadJob, { signal }: { signal: AbortSignal }) =>
    (bucket && (await findPrivateBucket(bucket, { signal }))) ?? (await gatherImages(body, slots, limits, { signal }));

  const prepare: Prepare = async (job, { signal }) => {
    const raw = rawOptions(job);
    if (!isRead) return isInvalid(raw) ? raw : { type: "prepared", options: raw, forEngine: () => untouched(job) };
    await templates?.refresh();
    const read = readJob(job, config);
    const gathered = isInvalid(read) ? read : await gather(read, { signal }).catch(ignoreAbort(signal));
    const options = isInvalid(read) ? (isInvalid(raw) ? usualOptions : raw) : read.options;
    // A fault of A1111's kind is none for a handler of the user's own.
    if (gathered && isInvalid(gathered) && kinds.every((kind) => !rawKinds.has(kind))) return gathered;
    const shape = shapeOf(read, kinds, templates);
    return { type: "prepared", options: shape ? { ...options, shape } : options, forEngine: (kind) => requestFor(kind, job, read, gathered, rules) };
  };

  return {
    prepare,
    fetches(job) {
      const read = isRead ? readJob(job, config) : undefined;
      if (read === undefined || isInvalid(read)) return false;
      return read.options.bucket !== undefined || read.slots.some(({ text }) => isUrl(text));
    },
    check(job) {
      if (!isRead) return undefined;
      const read = readJob(job, config);
      const whole: Gathered | Invalid = isInvalid(read) ? read : { type: "gathered", body: read.body, headers: new Map() };
      const requests = kinds.map((kind) => requestFor(kind, { ...job, id: "", source: "", receivedAt: 0 }, read, whole, rules));
      const [first] = requests;
      if (first?.type !== "invalid" || requests.some(({ type }) => type !== "invalid")) return undefined;
      const { message, path } = first.failure;
      return { code: "job.invalid", message, ...(path !== undefined && { path }) };
    },
  };
}

/** Whoever called the job off knows it and asks for no request any more. */
function ignoreAbort(signal: AbortSignal): (error: unknown) => undefined {
  return (error) => {
    if (!signal.aborted) throw error;
  };
}

function rawOptions({ extra }: Pick<JobInput, "extra">) {
  const deadline = readDeadline(extra);
  return isInvalid(deadline) ? deadline : { ...usualOptions, ...deadline };
}

function untouched({ input }: JobInput): EngineRequest {
  return { type: "request", input: input as Body, warnings: [] };
}

function requestFor(
  kind: string,
  job: JobInput,
  read: ReadJob | Invalid,
  gathered: Gathered | Invalid | undefined,
  config: RequestRules,
): ReturnType<PreparedJob["forEngine"]> {
  if (rawKinds.has(kind)) return untouched(job);
  if (isInvalid(read)) return read;
  if (!gathered) return { type: "invalid", failure: { code: "job.cancelled", message: "The job was called off while its inputs were fetched." } };
  if (isInvalid(gathered)) return gathered;
  if (read.type === "workflow") {
    if (sdapiKinds.has(kind)) return invalid("input.workflow", `a ComfyUI workflow needs an engine of kind comfyui; here it is ${kind}`);
    return { type: "request", input: gathered.body, warnings: [] };
  }
  if (sdapiKinds.has(kind)) return sdapiRequest(kind, read, gathered, config);
  if (kind === "comfyui") return comfyuiRequest(read, gathered, config);
  const taken = takeOptions(job.input as Body);
  return isInvalid(taken) ? taken : { type: "request", input: taken.rest, warnings: [] };
}

interface RequestRules extends PrepareConfig {
  readonly templates: TemplateBook | undefined;
}

/** An answer that names its template, for callers that know no other shape. */
function shapeOf(read: ReadJob | Invalid, kinds: readonly string[], templates: TemplateBook | undefined): "template" | undefined {
  if (!templates || isInvalid(read) || read.type !== "sdapi" || read.options.shape !== "engine" || !kinds.includes("diffusers")) return undefined;
  const choice = templates.choose(read);
  return !isInvalid(choice) && choice.template !== undefined ? "template" : undefined;
}

/** The job with what its template and the configuration say besides; `template` itself becomes the engine's own field. */
function withTemplate(input: Body, read: SdapiJob, templates: TemplateBook): Body | Invalid {
  const choice = templates.choose(read);
  if (isInvalid(choice)) return choice;
  const { template, ...own } = input;
  if (choice.template === undefined) return mergeBodies(choice.usual, template === undefined ? input : { template, ...own });
  return { ...mergeBodies(choice.usual, own), fettle_template: choice.template };
}

function sdapiRequest(kind: string, read: SdapiJob, { body, headers }: Gathered, { unknownKeys, templates }: RequestRules): EngineRequest | Invalid {
  const { call, answersImages, at } = read;
  const sized = read.takesImageSize ? withImageSize(body, read, headers) : body;
  const input = templates && kind === "diffusers" && answersImages ? withTemplate(sized, read, templates) : sized;
  if (isInvalid(input)) return input;
  const warnings = [...read.warnings];
  if (unknownKeys !== "off" && answersImages) {
    const isImg2img = call === undefined ? input["init_images"] !== undefined && input["init_images"] !== null : call.endsWith("/img2img");
    const unknown = findUnknownKeys(input, { call: isImg2img ? "img2img" : "txt2img", kind, at });
    const [first] = unknown;
    if (first && unknownKeys === "refuse") return invalid(`${at}.${first.key.slice(0, 60)}`, `${first.warning.replace(/\.$/, "")} (jobs.unknownKeys)`);
    warnings.push(...unknown.slice(0, mostUnknown).map(({ warning }) => warning));
    if (unknown.length > mostUnknown) warnings.push(`${unknown.length - mostUnknown} more keys are ignored by the engine.`);
  }
  return { type: "request", input, warnings, ...(call !== undefined && { call }), ...(!answersImages && { answersImages }) };
}

const comfyuiCalls = ["/sdapi/v1/txt2img", "/sdapi/v1/img2img"];

/** A1111's names, of which the connection makes a workflow. It has none of A1111's other calls. */
function comfyuiRequest(read: SdapiJob, { body, headers }: Gathered, { unknownKeys }: PrepareConfig): EngineRequest | Invalid {
  if (read.call !== undefined && !comfyuiCalls.some((call) => read.call?.endsWith(call)))
    return invalid("input.api", `${read.call} is a call of A1111, and the engine is ComfyUI`);
  const unknown = unknownKeys === "off" ? [] : findUnknownKeys(body, { call: "img2img", kind: "comfyui", at: read.at });
  const [first] = unknown;
  if (first && unknownKeys === "refuse") return invalid(`${read.at}.${first.key.slice(0, 60)}`, `${first.warning.replace(/\.$/, "")} (jobs.unknownKeys)`);
  const input = read.takesImageSize ? withImageSize(body, read, headers) : body;
  return { type: "request", input, warnings: [...read.warnings, ...unknown.slice(0, mostUnknown).map(({ warning }) => warning)] };
}

/** diffusers' pipelines keep the picture's size, A1111 would stretch it to 512x512. Sides are multiples of 8 in both. */
function withImageSize(body: Body, { slots }: SdapiJob, headers: Gathered["headers"]): Body {
  const first = slots.find(({ keys }) => keys[0] === "init_images");
  const { width, height } = (first && headers.get(first.path)) ?? {};
  const side = (pixels: number) => Math.max(8, Math.floor(pixels / 8) * 8);
  return width !== undefined && height !== undefined ? { ...body, width: side(width), height: side(height) } : body;
}

import type { JobInput } from "../job.ts";
import { translateAliases } from "./aliases.ts";
import { findFileAccess } from "./file-keys.ts";
import { findImageSlots, type ImageSlot } from "./image-slots.ts";
import { type Body, expected, type Invalid, isInvalid, isObject } from "./invalid.ts";
import { type JobBuckets, readJobBucket } from "./job-bucket.ts";
import { readDeadline, takeOptions } from "./own-options.ts";
import { type JobOptions, usualOptions } from "./prepare.ts";
import { readProxiedCall } from "./proxied-call.ts";
import { fromWorkerSdxl, isWorkerSdxl } from "./worker-sdxl.ts";
import { findWorkflowFault, namedImageSlots, type WorkflowForm, workflowFormOf } from "./workflow.ts";

export interface ReadRules {
  /** How an input is read that could be one thing or another. */
  readonly dialect: "auto" | "engine" | "worker-sdxl";
  readonly allowPaths: boolean;
  readonly allowCalls: readonly string[];
  readonly jobBuckets: JobBuckets;
}

/** A job in A1111's names, before its images are here. */
export interface SdapiJob {
  readonly type: "sdapi";
  readonly options: JobOptions;
  /** The very object that came, when nothing had to be changed. */
  readonly body: Body;
  /** Left out: decided by the body, txt2img or img2img. */
  readonly call?: string;
  readonly answersImages: boolean;
  readonly warnings: readonly string[];
  readonly slots: readonly ImageSlot[];
  /** Where the body stands in what came: `input` or `input.payload`. */
  readonly at: string;
  /** Came under another API's name, where the picture's own size counts unless one is named. */
  readonly takesImageSize: boolean;
}

export interface WorkflowJob {
  readonly type: "workflow";
  readonly options: JobOptions;
  readonly body: Body;
  readonly slots: readonly ImageSlot[];
}

export type ReadJob = SdapiJob | WorkflowJob;

/** Recognises a job's shape and brings it into A1111's names (or leaves a ComfyUI workflow as it is). Looks at nothing outside of it. */
export function readJob({ input, extra }: Pick<JobInput, "input" | "extra">, rules: ReadRules): ReadJob | Invalid {
  const deadline = readDeadline(extra);
  if (isInvalid(deadline)) return deadline;
  const bucket = readJobBucket(extra, rules.jobBuckets);
  if (isInvalid(bucket)) return bucket;
  if (!isObject(input)) return expected("input", "an object", input);
  // A bare workflow's keys are nodes, never ours.
  const isBare = workflowFormOf(input) === "bare";
  const taken = isBare ? { type: "taken" as const, options: usualOptions, rest: input } : takeOptions(input);
  if (isInvalid(taken)) return taken;
  const { rest } = taken;
  const options = { ...taken.options, ...deadline, ...bucket };
  const form = workflowFormOf(rest);
  if (form !== undefined) return readWorkflow(rest, form, options, rules);
  if ("api" in rest) {
    const call = readProxiedCall(rest, rules);
    if (isInvalid(call)) return call;
    return readBody(call.payload, { options, at: "input.payload", call: call.call, answersImages: call.answersImages }, rules);
  }
  const isSdxl = rules.dialect === "worker-sdxl" || (rules.dialect === "auto" && isWorkerSdxl(rest));
  if (!isSdxl) return readBody(rest, { options, at: "input", answersImages: true }, rules);
  const sdxl = fromWorkerSdxl(rest);
  if (isInvalid(sdxl)) return sdxl;
  return readBody(sdxl.body, { options: { ...options, shape: "worker-sdxl" }, at: "input", answersImages: true, warnings: sdxl.warnings }, rules);
}

/** Whoever sends a workflow knows worker-comfyui's answer; who names one of the engine's own gets it as for A1111's names. */
function readWorkflow(body: Body, form: WorkflowForm, options: JobOptions, rules: ReadRules): WorkflowJob | Invalid {
  const fault = findWorkflowFault(body, form, rules);
  if (fault) return fault;
  const slots = form === "bare" ? [] : findImageSlots({ images: body["images"] }, "input");
  if (form === "named") return { type: "workflow", options, body, slots: [...slots, ...namedImageSlots(body)] };
  return { type: "workflow", options: { ...options, shape: "worker-comfyui" }, body, slots };
}

type Known = Pick<SdapiJob, "options" | "at" | "call" | "answersImages"> & { readonly warnings?: readonly string[] };

function readBody(came: Body, { warnings = [], ...known }: Known, { allowPaths }: ReadRules): SdapiJob | Invalid {
  // Names are only mapped where A1111's own are known; other calls have fields of the same names with other meanings.
  const translated = known.answersImages ? translateAliases(came, known.at) : { body: came, warnings: [], origins: new Map<string, string>() };
  if ("failure" in translated) return translated;
  const { body, origins } = translated;
  const fault = allowPaths ? undefined : findFileAccess(body, known.at);
  if (fault) return fault;
  const takesImageSize = origins.has("init_images") && !("width" in body) && !("height" in body);
  const slots = findImageSlots(body, known.at).map((slot) => renamed(slot, known.at, origins));
  return { type: "sdapi", ...known, body, warnings: [...warnings, ...translated.warnings], slots, takesImageSize };
}

/** Messages name the field as its caller wrote it. */
function renamed(slot: ImageSlot, at: string, origins: ReadonlyMap<string, string>): ImageSlot {
  const [field] = slot.keys;
  const origin = typeof field === "string" ? origins.get(field) : undefined;
  return origin === undefined ? slot : { ...slot, path: `${at}.${origin}${slot.keys.length > 1 && slot.keys[1] !== 0 ? `[${slot.keys[1]}]` : ""}` };
}

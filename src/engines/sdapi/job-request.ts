import type { Attempt, AttemptResult } from "../engine.ts";
import type { JsonRequest } from "../request.ts";

export interface JobRequest extends JsonRequest {
  readonly taskId: string | undefined;
}

type Failed = Extract<AttemptResult, { type: "failed" }>;

/** Sides that an engine may be asked for, in pixels. A1111 gives its process to the kernel's memory killer at 200,000. */
const longestSide = 16_384;
/** Pixels of one batch together, as many as in the largest single image. */
const mostPixels = longestSide ** 2;
const caps: Readonly<Record<string, number>> = {
  width: longestSide,
  height: longestSide,
  firstphase_width: longestSide,
  firstphase_height: longestSide,
  hr_resize_x: longestSide,
  hr_resize_y: longestSide,
  hr_scale: 32,
  steps: 10_000,
  hr_second_pass_steps: 10_000,
  batch_size: 1024,
  n_iter: 10_000,
  upscaling_resize: 32,
  upscaling_resize_w: longestSide,
  upscaling_resize_h: longestSide,
};

/**
 * The request for a job in A1111's dialect: the call that the job names, else /img2img when it brings images, else /txt2img; the body is
 * the input as it is. Only the bundled engine gets a task id beside it, so that an interrupt can name the job. Sizes that would kill the
 * engine are refused here.
 */
export function buildJobRequest({ id, input, call }: Pick<Attempt, "id" | "input" | "call">, kind: "a1111" | "diffusers"): JobRequest | Failed {
  const fault = absurd(input);
  if (fault)
    return {
      type: "failed",
      code: "job.invalid",
      message: `Cannot run the job: ${fault.field}: ${fault.reason}.`,
      retryable: false,
      details: { field: fault.field },
    };
  const { method, path } = call === undefined ? usualCall(input) : readCall(call);
  // An id that the engine does not know interrupts nobody; no id would interrupt whoever runs.
  const taskId = kind === "diffusers" ? id : undefined;
  if (method === "GET") return { method, path, body: undefined, taskId };
  if (kind === "a1111" || !generates.has(path)) return { method, path, body: JSON.stringify(input), taskId };
  const own = input["force_task_id"];
  const force = typeof own === "string" && own !== "" ? own : id;
  return { method, path, body: JSON.stringify({ ...input, force_task_id: force }), taskId: force };
}

const generates = new Set(["/sdapi/v1/txt2img", "/sdapi/v1/img2img"]);

/** The same request with a VAE that cannot overflow; undefined where an engine cannot change it between two jobs (the webui, at its start only). */
export function inFloat32(request: JobRequest, kind: "a1111" | "diffusers"): JobRequest | undefined {
  if (kind !== "diffusers" || request.body === undefined || !generates.has(request.path)) return undefined;
  return { ...request, body: JSON.stringify({ ...(JSON.parse(request.body) as Attempt["input"]), fettle_vae_dtype: "float32" }) };
}

function usualCall(input: Attempt["input"]) {
  const isTxt2img = input["init_images"] === undefined || input["init_images"] === null;
  return { method: "POST" as const, path: isTxt2img ? "/sdapi/v1/txt2img" : "/sdapi/v1/img2img" };
}

/** `GET /sdapi/v1/samplers`; a path alone is posted to. */
function readCall(call: string) {
  const [, method, path = call] = /^(GET|POST) (\/.*)$/.exec(call) ?? [];
  return { method: method === "GET" ? ("GET" as const) : ("POST" as const), path };
}

function absurd(input: Attempt["input"]): { field: string; reason: string } | undefined {
  // The engine turns "512" into a number, so text counts as well; what is no number at all is the engine's to refuse.
  const number = (field: string, otherwise: number): number => {
    const value = input[field];
    const parsed = typeof value === "number" || typeof value === "string" ? Number(value) : Number.NaN;
    return Number.isNaN(parsed) ? otherwise : parsed;
  };
  for (const [field, most] of Object.entries(caps)) if (number(field, 0) > most) return { field, reason: `at most ${most} is allowed` };
  const scale = input["enable_hr"] === true ? number("hr_scale", 2) : 1;
  const [width, height] = [number("width", 512) * scale, number("height", 512) * scale];
  if (width > longestSide || height > longestSide) return { field: "hr_scale", reason: `the image would be larger than ${longestSide} pixels on a side` };
  const pixels = width * height * Math.max(1, number("batch_size", 1));
  return pixels > mostPixels ? { field: "batch_size", reason: `one batch would have more than ${mostPixels} pixels` } : undefined;
}

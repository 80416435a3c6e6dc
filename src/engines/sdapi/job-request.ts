import type { Attempt, AttemptResult } from "../engine.ts";

export interface JobRequest {
  readonly path: "/sdapi/v1/txt2img" | "/sdapi/v1/img2img";
  readonly body: string;
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
};

/**
 * The request for a job in A1111's dialect: /img2img when it brings images, else /txt2img; the body is the input as it is. Only the
 * bundled engine gets a task id beside it, so that an interrupt can name the job. Sizes that would kill the engine are refused here.
 */
export function buildJobRequest({ id, input }: Pick<Attempt, "id" | "input">, kind: "a1111" | "diffusers"): JobRequest | Failed {
  const fault = absurd(input);
  if (fault)
    return {
      type: "failed",
      code: "job.invalid",
      message: `Cannot run the job: ${fault.field}: ${fault.reason}.`,
      retryable: false,
      details: { field: fault.field },
    };
  const path = input["init_images"] === undefined || input["init_images"] === null ? "/sdapi/v1/txt2img" : "/sdapi/v1/img2img";
  if (kind === "a1111") return { path, body: JSON.stringify(input), taskId: undefined };
  const own = input["force_task_id"];
  const taskId = typeof own === "string" && own !== "" ? own : id;
  return { path, body: JSON.stringify({ ...input, force_task_id: taskId }), taskId };
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

/** An A1111 sampler, and the schedule where A1111's own choice for it (Karras) is not what was asked for. */
export interface Sampling {
  readonly sampler_name: string;
  readonly scheduler?: string;
}

const row = (sampler_name: string, scheduler?: string): Sampling => ({ sampler_name, ...(scheduler !== undefined && { scheduler }) });

// diffusers' class names without "Scheduler"; their plain schedule is A1111's Uniform.
const classes: Readonly<Record<string, Sampling>> = {
  EulerDiscrete: row("Euler"),
  EulerAncestralDiscrete: row("Euler a"),
  LMSDiscrete: row("LMS"),
  HeunDiscrete: row("Heun"),
  PNDM: row("PLMS"),
  KDPM2Discrete: row("DPM2", "Uniform"),
  KDPM2AncestralDiscrete: row("DPM2 a", "Uniform"),
  DPMSolverMultistep: row("DPM++ 2M", "Uniform"),
  // A1111 has this solver as an ancestral one only.
  DPMSolverSinglestep: row("DPM++ 2S a", "Uniform"),
  DPMSolverSDE: row("DPM++ SDE", "Uniform"),
  UniPCMultistep: row("UniPC"),
  LCM: row("LCM"),
};

/** The names of worker-sdxl, and of others that took them over. */
const short: Readonly<Record<string, Sampling>> = {
  KLMS: row("LMS"),
  K_EULER: row("Euler"),
  K_EULER_ANCESTRAL: row("Euler a"),
  KarrasDPM: row("DPM++ 2M", "Karras"),
};

/** The seven schedulers of worker-sdxl. */
export const workerSdxlSchedulers: ReadonlyMap<string, Sampling> = new Map([
  ["PNDM", row("PLMS")],
  ["KLMS", row("LMS")],
  ["DDIM", row("DDIM")],
  ["K_EULER", row("Euler")],
  ["K_EULER_ANCESTRAL", row("Euler a")],
  ["DPMSolverMultistep", row("DPM++ 2M", "Uniform")],
  ["DPMSolverSinglestep", row("DPM++ 2S a", "Uniform")],
]);

/**
 * What a diffusers scheduler is called in A1111. Undefined for A1111's own schedules, which stand under the same key: `DDIM` alone is
 * one of them, `DDIMScheduler` is diffusers'.
 */
export function samplingOf(scheduler: string): Sampling | undefined {
  if (scheduler === "DDIMScheduler") return row("DDIM");
  const name = scheduler.replace(/Scheduler$/, "");
  return Object.hasOwn(classes, name) ? classes[name] : Object.hasOwn(short, name) ? short[name] : undefined;
}

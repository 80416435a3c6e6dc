/** A1111's sampler names in ComfyUI's words; its own names are taken as they are. */
const samplers: Readonly<Record<string, string>> = {
  euler: "euler",
  "euler a": "euler_ancestral",
  heun: "heun",
  lms: "lms",
  dpm2: "dpm_2",
  "dpm2 a": "dpm_2_ancestral",
  "dpm fast": "dpm_fast",
  "dpm adaptive": "dpm_adaptive",
  "dpm++ 2s a": "dpmpp_2s_ancestral",
  "dpm++ 2m": "dpmpp_2m",
  "dpm++ sde": "dpmpp_sde",
  "dpm++ 2m sde": "dpmpp_2m_sde",
  "dpm++ 2m sde heun": "dpmpp_2m_sde",
  "dpm++ 3m sde": "dpmpp_3m_sde",
  ddim: "ddim",
  "ddim cfg++": "ddim",
  plms: "euler",
  unipc: "uni_pc",
  lcm: "lcm",
  restart: "euler",
};

const schedulers: Readonly<Record<string, string>> = {
  automatic: "normal",
  uniform: "normal",
  normal: "normal",
  karras: "karras",
  exponential: "exponential",
  polyexponential: "exponential",
  "sgm uniform": "sgm_uniform",
  simple: "simple",
  "ddim uniform": "ddim_uniform",
  ddim: "ddim_uniform",
  beta: "beta",
  "kl optimal": "kl_optimal",
};

export interface SamplerChoice {
  readonly sampler: string;
  readonly scheduler: string;
}

/**
 * `DPM++ 2M Karras` → `dpmpp_2m`, `karras`. A name that this server has is used as it is, and one that nobody knows too: the check against
 * the server's list then says which are near.
 */
export function readSampler(
  name: unknown,
  schedule: unknown,
  known: { readonly samplers: readonly string[]; readonly schedulers: readonly string[] },
): SamplerChoice {
  const text = typeof name === "string" && name.trim() !== "" ? name.trim() : "Euler";
  const wanted = typeof schedule === "string" && schedule.trim() !== "" ? schedule.trim() : undefined;
  const scheduler = (words: string | undefined) =>
    words === undefined ? undefined : known.schedulers.includes(words) ? words : (schedulers[words.toLowerCase()] ?? undefined);
  if (known.samplers.includes(text)) return { sampler: text, scheduler: scheduler(wanted) ?? wanted ?? "normal" };
  const lower = text.toLowerCase().replace(/\s+/g, " ");
  const whole = samplers[lower];
  if (whole !== undefined) return { sampler: whole, scheduler: scheduler(wanted) ?? wanted ?? "normal" };
  // The older form: the schedule is the end of the name.
  const end = Object.keys(schedulers).find((words) => lower.endsWith(` ${words}`));
  const head = end === undefined ? undefined : samplers[lower.slice(0, -end.length - 1)];
  if (end !== undefined && head !== undefined) return { sampler: head, scheduler: scheduler(wanted) ?? schedulers[end] ?? "normal" };
  return { sampler: text, scheduler: scheduler(wanted) ?? wanted ?? "normal" };
}

import { pause } from "../../src/util/pause.ts";

const limitMs = 240_000;
const againMs = 20;

export interface EngineAnswer {
  readonly status: number;
  /** Parsed where it is JSON, else the text. */
  readonly body: unknown;
}

/** Asks the engine itself, without fettle between. A string body goes as it is, even when it is no JSON. */
export async function askEngine(url: string, method: string, path: string, body?: unknown): Promise<EngineAnswer> {
  const response = await fetch(url + path, {
    method,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body), headers: { "content-type": "application/json" } }),
    signal: AbortSignal.timeout(limitMs),
  });
  const text = await response.text();
  try {
    return { status: response.status, body: JSON.parse(text) as unknown };
  } catch {
    return { status: response.status, body: text };
  }
}

export interface EngineProgress {
  readonly progress: number;
  readonly state: { readonly job_count: number; readonly sampling_step: number; readonly sampling_steps: number; readonly interrupted: boolean };
}

/** Asks for progress until it is as wanted; gives that answer. Fails after four minutes with the last one. */
export async function untilProgress(url: string, what: string, wanted: (seen: EngineProgress) => boolean): Promise<EngineProgress> {
  const limit = AbortSignal.timeout(limitMs);
  for (;;) {
    const { body } = await askEngine(url, "GET", "/sdapi/v1/progress?skip_current_image=true");
    const seen = body as EngineProgress;
    if (wanted(seen)) return seen;
    if (limit.aborted) throw new Error(`The engine never was ${what}: ${JSON.stringify(seen)}`);
    await pause(againMs);
  }
}

/** Its samplers are at work: the job is in its middle. A1111 keeps the last job's step count until the next one samples. */
export const untilBusy = (url: string, steps: number) =>
  untilProgress(url, `in the middle of ${steps} steps`, ({ state }) => state.job_count > 0 && state.sampling_steps === steps && state.sampling_step > 0);

export const untilIdle = (url: string) => untilProgress(url, "idle", ({ state }) => state.job_count === 0);

import { suggest } from "../../util/suggest.ts";
import { type Body, expected, type Invalid, invalid, isObject } from "./invalid.ts";

/** One of the engine's calls that a job names itself: `{"api": {"method", "endpoint"}, "payload"}`, as ashleykleynhans' worker-a1111 takes it. */
export interface ProxiedCall {
  readonly type: "call";
  /** As `Attempt.call` has it: `GET /sdapi/v1/samplers`, `POST /sdapi/v1/img2img`. */
  readonly call: string;
  readonly payload: Body;
  /** Whether its answer must hold `images`. */
  readonly answersImages: boolean;
}

const generating = ["POST /sdapi/v1/txt2img", "POST /sdapi/v1/img2img"];
// What neither changes the server nor shows its secrets: /cmd-flags has the API's passwords in it, /options has none.
const harmless = [
  ...["extra-single-image", "extra-batch-images", "interrogate", "png-info"].map((name) => `POST /sdapi/v1/${name}`),
  ...`sd-models sd-vae sd-modules samplers schedulers upscalers latent-upscale-modes face-restorers realesrgan-models hypernetworks embeddings
      loras prompt-styles scripts script-info extensions options memory progress`
    .split(/\s+/)
    .map((name) => `GET /sdapi/v1/${name}`),
  ...["model_list", "module_list", "control_types", "version"].map((name) => `GET /controlnet/${name}`),
];
const allowed = new Set([...generating, ...harmless]);
/** That worker's own two endpoints; A1111 has them not. */
const workersOwn: Readonly<Record<string, string>> = { "/v1/download": "download", "/v1/sync": "synchronise" };

/** `allowCalls`: what the config allows beyond that, such as `POST /sdapi/v1/options`. */
export function readProxiedCall(input: Body, { allowCalls }: { allowCalls: readonly string[] }): ProxiedCall | Invalid {
  const { api, payload = {} } = input;
  if (!isObject(api)) return expected("input.api", 'an object with "method" and "endpoint"', api);
  const { method, endpoint } = api;
  if (method !== "GET" && method !== "POST") return expected("input.api.method", '"GET" or "POST"', method);
  if (typeof endpoint !== "string" || !/^\/?[a-z0-9_/-]{1,100}$/i.test(endpoint))
    return expected("input.api.endpoint", "an endpoint such as /sdapi/v1/txt2img", endpoint);
  if (payload !== null && !isObject(payload)) return expected("input.payload", "an object", payload);
  const path = `/${endpoint.replace(/^\/+/, "")}`;
  const call = `${method} ${path}`;
  const verb = Object.hasOwn(workersOwn, path) ? workersOwn[path] : undefined;
  if (verb !== undefined) return invalid("input.api.endpoint", `a job cannot ${verb} files onto this machine`);
  if (!allowed.has(call) && !allowCalls.includes(call)) {
    const near = suggest(call, allowed);
    const hint = near === undefined || near.split(" ")[1] === path ? "" : `; did you mean ${near}?`;
    return invalid("input.api.endpoint", `${call} is not among the calls that a job may make here (jobs.allowCalls)${hint}`);
  }
  return { type: "call", call, payload: payload ?? {}, answersImages: generating.includes(call) };
}

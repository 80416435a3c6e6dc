import { isSecretName } from "../log/mask.ts";
import { suggest } from "../util/suggest.ts";
import type { Environment } from "./substitute.ts";
import { nest } from "./nest.ts";
import { type MapTree, type Source, treeAt, type Tree } from "./tree.ts";

export interface Variable {
  readonly name: string;
  readonly summary: string;
  /** The key it sets, as the environment layer; absent for variables that other parts read. */
  readonly path?: readonly string[];
  /** It applies only when this part of the configuration exists. */
  readonly needs?: readonly string[];
  /** Kept out of the documentation: fettle's own tests use it. */
  readonly internal?: true;
}

/** Every FETTLE_ variable; docs/environment.md is generated from this table. An empty variable counts as not set. */
export const variables: readonly Variable[] = [
  { name: "FETTLE_CONFIG", summary: "The configuration file, when --config does not name one." },
  { name: "FETTLE_PROFILE", summary: "The built-in profile, when neither --profile nor the file's `extends` names one." },
  { name: "FETTLE_LOG_FORMAT", summary: "auto, pretty, plain, json or runpod.", path: ["log", "format"] },
  { name: "FETTLE_LOG_LEVEL", summary: "error, warn, info or debug.", path: ["log", "level"] },
  { name: "FETTLE_STATE_DIR", summary: "Journal and results.", path: ["stateDir"] },
  { name: "FETTLE_LOG_DIR", summary: "One log file per service.", path: ["logDir"] },
  { name: "FETTLE_RUNTIME_DIR", summary: "Control socket and PID files.", path: ["runtimeDir"] },
  { name: "FETTLE_STOP_BUDGET", summary: "Time for a whole stop, such as 8s.", path: ["stop", "budget"] },
  { name: "FETTLE_HEALTH_LISTEN", summary: "Address of the health server.", path: ["health", "listen"] },
  { name: "FETTLE_HEALTH_PORT", summary: "Port of the health server.", path: ["health", "port"] },
  { name: "FETTLE_HTTP_LISTEN", summary: "Address of the job API.", path: ["sources", "http", "listen"], needs: ["sources", "http"] },
  { name: "FETTLE_HTTP_PORT", summary: "Port of the job API.", path: ["sources", "http", "port"], needs: ["sources", "http"] },
  {
    name: "FETTLE_API_KEY",
    summary: "Callers of the job API must send it as a Bearer token.",
    path: ["sources", "http", "apiKey"],
    needs: ["sources", "http"],
  },
  { name: "FETTLE_PYTHON", summary: "The Python that the demo profile's engine and the helpers run with; default python3." },
  { name: "FETTLE_MODEL_CACHE", summary: "Where fetched models are kept; machines may share it on a volume. Default: models in the state folder." },
  { name: "FETTLE_DOWNLOAD_STALL", summary: "A download that is silent for so long is tried again; default 120s." },
  { name: "FETTLE_CIVITAI_URL", summary: "A mirror in place of https://civitai.com." },
  { name: "FETTLE_TEMPLATES", summary: "templates.json of profile diffusers-runpod; default /templates.json." },
  { name: "FETTLE_MODELS_DIR", summary: "Where profile diffusers-runpod keeps models; default /runpod-volume/models." },
  { name: "FETTLE_HANDLER_FILE", summary: "The handler of profile python-handler; default /handler.py, else ./handler.py." },
  { name: "FETTLE_HANDLER", summary: "false: profile a1111-runpod keeps fettle's RunPod source even when /handler.py exists." },
  { name: "FETTLE_SERVICE", summary: "Set by `fettle start` for everything it starts: finds processes that left their group." },
  { name: "FETTLE_API_AUTH", summary: "`user:password` pairs, with commas between, that the bundled engine's API asks for." },
  { name: "FETTLE_TEMPLATE_VAE", summary: "Set by `fettle start` for the bundled engine: the VAE for templates that name none." },
  { name: "FETTLE_STEPS", summary: "Set by `fettle start` for a task made of steps: what it shall do." },
  { name: "FETTLE_CONTROL", summary: "Set by `fettle start` for its worker: the supervisor's control socket." },
];

/** Names with these beginnings are never reported as unknown. */
const knownPrefixes = ["FETTLE_TEST_", "FETTLE_BENCH_"];

/** The environment layer: a tree of the variables that are set and whose part of the configuration exists. */
export function environmentTree(env: Environment, below: Tree): MapTree | undefined {
  let layer: MapTree | undefined;
  for (const { name, path, needs } of variables) {
    const value = env[name];
    if (!path || value === undefined || value === "" || (needs && !isMapAt(below, needs))) continue;
    const text = `${name}=${isSecretName(name) ? "***" : value}`;
    const source: Source = { layer: "environment", name, file: "environment", text, located: false };
    const place = { source, start: 0, end: text.length };
    layer = nest(path, { kind: "scalar", value, raw: value, place, literal: true }, layer);
  }
  return layer;
}

function isMapAt(tree: Tree, path: readonly string[]): boolean {
  const found = treeAt(tree, path);
  return found.whole && found.tree.kind === "map";
}

/** One warning for each FETTLE_ variable that nothing reads: most likely a typo. */
export function unknownVariables(env: Environment): string[] {
  const names = variables.map((one) => one.name);
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith("FETTLE_") && !names.includes(name) && !knownPrefixes.some((prefix) => name.startsWith(prefix)),
  );
  return unknown.sort().map((name) => {
    const near = suggest(name, names);
    return `The environment variable ${name} is not known to fettle.${near ? ` Did you mean ${near}?` : ""}`;
  });
}

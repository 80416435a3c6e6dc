import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import leven from "leven";
import { reasonOf } from "../../errors/fettle-error.ts";
import type { FoundWorkflow } from "./find-workflow.ts";
import type { Failed } from "./failure.ts";
import { invalid, type JobImage } from "./read-input.ts";
import { formOf, isRecord, withInput, type Workflow } from "./workflow.ts";

/** `NAME.yaml` beside `NAME.json`: which node's inputs a friendly parameter fills. */
interface Mapping {
  /** parameter → `NODE.INPUT`, one or several. */
  readonly inputs: ReadonlyMap<string, readonly string[]>;
  readonly defaults: Readonly<Record<string, unknown>>;
}

/** Workflows by name, from a folder: read when a job names one, so that a new file needs no restart. */
export class NamedWorkflows {
  readonly #dir: string | undefined;
  readonly #cache = new Map<string, { readonly stamp: string; readonly workflow: Workflow; readonly mapping: Mapping }>();

  constructor(dir: string | undefined) {
    this.#dir = dir;
  }

  /** The named workflow with its parameters filled in. Unknown parameters are refused: they would make some other picture. */
  async fill(name: string, fields: Readonly<Record<string, unknown>>): Promise<FoundWorkflow | Failed> {
    const loaded = await this.#load(name);
    if (loaded.type === "failed") return loaded;
    const { mapping } = loaded;
    let { workflow } = loaded;
    const images: JobImage[] = [];
    const used: Record<string, unknown> = {};
    const values = { ...mapping.defaults, ...fields };
    for (const [parameter, given] of Object.entries(values)) {
      const targets = mapping.inputs.get(parameter);
      if (!targets) return unknownParameter(name, parameter, [...mapping.inputs.keys()]);
      const value = parameter === "seed" && given === -1 ? Math.floor(Math.random() * 2 ** 32) : given;
      const image = readImage(parameter, value, images.length);
      if (image) images.push(image);
      else used[parameter] = value;
      for (const target of targets) {
        const [node, input] = splitTarget(target);
        workflow = withInput(workflow, node, input, image ? image.name : value);
      }
    }
    return { type: "found", workflow, images, parameters: { workflow: name, ...used } };
  }

  async #load(name: string): Promise<{ readonly type: "loaded"; readonly workflow: Workflow; readonly mapping: Mapping } | Failed> {
    const dir = this.#dir;
    if (dir === undefined)
      return invalid("workflow", `there is no workflow "${name.slice(0, 80)}"`, {
        hint: "Set the engine's `workflows` to a folder of them, or send the workflow itself.",
      });
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/.test(name))
      return invalid("workflow", `"${name.slice(0, 80)}" is no name of a workflow`);
    const path = join(dir, `${name.replace(/\.json$/, "")}.json`);
    const sidecar = path.replace(/\.json$/, ".yaml");
    const stamp = `${await stampOf(path)} ${await stampOf(sidecar)}`;
    const known = this.#cache.get(name);
    if (known?.stamp === stamp) return { type: "loaded", ...known };
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch {
      return invalid("workflow", `there is no workflow "${name}"`, { hint: await this.#names(dir, name) });
    }
    try {
      const workflow: unknown = JSON.parse(text);
      if (formOf(workflow) !== "api") return broken(path, 'it is not in ComfyUI\'s API format; use "Export (API)"');
      const mapping = await readMapping(sidecar, workflow as Workflow);
      if (typeof mapping === "string") return broken(sidecar, mapping);
      this.#cache.set(name, { stamp, workflow: workflow as Workflow, mapping });
      return { type: "loaded", workflow: workflow as Workflow, mapping };
    } catch (error) {
      return broken(path, reasonOf(error));
    }
  }

  async #names(dir: string, wanted: string): Promise<string> {
    const files = await readdir(dir, { recursive: true }).catch(() => []);
    const names = files.filter((file) => file.endsWith(".json")).map((file) => file.slice(0, -5));
    const near = names.sort((a, b) => leven(a, wanted) - leven(b, wanted)).slice(0, 5);
    return near.length > 0 ? `There are ${near.map((one) => `"${one}"`).join(", ")}.` : "The folder of workflows is empty.";
  }
}

async function readMapping(path: string, workflow: Workflow): Promise<Mapping | string> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return { inputs: guessInputs(workflow), defaults: {} };
  // Loaded only where a mapping is used: the worker starts without a YAML parser.
  const { parse } = await import("yaml");
  const value: unknown = parse(text);
  if (!isRecord(value) || !isRecord(value["inputs"])) return "expected `inputs:`, a map of parameters to NODE.INPUT";
  const inputs = new Map<string, readonly string[]>();
  for (const [parameter, target] of Object.entries(value["inputs"])) {
    const targets = Array.isArray(target) ? target.map(String) : [String(target)];
    for (const one of targets) {
      const [node, input] = splitTarget(one);
      if (!input || !workflow[node]) return `inputs.${parameter}: there is no node ${node || `"${one}"`} in the workflow`;
    }
    inputs.set(parameter, targets);
  }
  return { inputs, defaults: isRecord(value["defaults"]) ? value["defaults"] : {} };
}

/** Without a mapping the usual parameters of the first sampler and of the texts it links to are found by themselves. */
function guessInputs(workflow: Workflow): ReadonlyMap<string, readonly string[]> {
  const inputs = new Map<string, readonly string[]>();
  const sampler = Object.entries(workflow).find(([, node]) => "seed" in node.inputs && "positive" in node.inputs);
  if (!sampler) return inputs;
  const [id, node] = sampler;
  for (const [parameter, input] of [
    ["seed", "seed"],
    ["steps", "steps"],
    ["cfg_scale", "cfg"],
    ["sampler_name", "sampler_name"],
    ["scheduler", "scheduler"],
    ["denoising_strength", "denoise"],
  ] as const) {
    if (input in node.inputs) inputs.set(parameter, [`${id}.${input}`]);
  }
  for (const [parameter, input] of [
    ["prompt", "positive"],
    ["negative_prompt", "negative"],
  ] as const) {
    const from = node.inputs[input];
    const source = Array.isArray(from) ? String(from[0]) : "";
    if (typeof workflow[source]?.inputs["text"] === "string") inputs.set(parameter, [`${source}.text`]);
  }
  const latent = node.inputs["latent_image"];
  const source = Array.isArray(latent) ? String(latent[0]) : "";
  for (const side of ["width", "height", "batch_size"]) if (typeof workflow[source]?.inputs[side] === "number") inputs.set(side, [`${source}.${side}`]);
  return inputs;
}

/** A node's id may hold dots or colons (groups), an input's name does not: the last dot counts. */
function splitTarget(target: string): [node: string, input: string] {
  const at = target.lastIndexOf(".");
  return at === -1 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}

function readImage(parameter: string, value: unknown, index: number): JobImage | undefined {
  if (typeof value !== "string" || !/image|mask|picture/i.test(parameter)) return undefined;
  const [, mime, text = ""] = /^(?:data:([^;,]*)(?:;[^,]*)?,)?(.*)$/s.exec(value) ?? [];
  // A plain name stays a name: of a file that the server has.
  if (mime === undefined && (text.length < 64 || !/^[A-Za-z0-9+/=\s]+$/.test(text.slice(0, 1000)))) return undefined;
  return { name: `${parameter}-${index}.png`, bytes: Uint8Array.from(Buffer.from(text, "base64")), mime: mime || "image/png" };
}

function unknownParameter(name: string, parameter: string, known: readonly string[]): Failed {
  const near = [...known].sort((a, b) => leven(a, parameter) - leven(b, parameter)).slice(0, 8);
  return invalid(parameter, `the workflow "${name}" has no such parameter`, { hint: near.length > 0 ? `It has ${near.join(", ")}.` : "It takes none." });
}

function broken(path: string, reason: string): Failed {
  return { type: "failed", code: "engine.failed", message: `Cannot use the workflow ${path}: ${reason.replace(/\.$/, "")}.`, retryable: false };
}

async function stampOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found ? `${found.mtimeMs}-${found.size}` : "-";
}

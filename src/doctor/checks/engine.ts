import { readdir } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import type { A1111EngineConfig, ComfyuiEngineConfig, DiffusersEngineConfig, EngineConfig } from "../../config/schema/index.ts";
import { modelsDirOf } from "../../plan/needs.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";
import { inspectWeights } from "../safetensors.ts";
import { formatBytes } from "../../util/bytes.ts";

export const engineChecks: readonly Check[] = [
  { id: "engine.program", subject: "engine", title: "program", needs: ["config.valid"], check: (patient) => each(patient, programOf) },
  { id: "engine.model", subject: "engine", title: "model", needs: ["config.valid"], check: (patient) => each(patient, modelOf) },
];

async function each(patient: Patient, look: (patient: Patient, engine: EngineConfig, name: string) => Promise<Finding>): Promise<Finding | Finding[]> {
  if (patient.engines.length === 0) return notChecked("this configuration launches no engine");
  return await Promise.all(patient.engines.map(async ([name, engine]) => about(name, await look(patient, engine, name))));
}

async function programOf({ at, cwd }: Patient, engine: EngineConfig, name: string): Promise<Finding> {
  if (engine.kind === "diffusers") return ok("bundled");
  if (engine.kind === "python") return ok("bundled; the handler is looked at by itself");
  const names = await readdir(at(resolve(cwd, engine.directory))).catch((error: NodeJS.ErrnoException) => error.code ?? "EIO");
  const [program, fix] =
    engine.kind === "comfyui"
      ? ["main.py", `fettle install (install.comfyui.directory: ${engine.directory}), or set engines.${name}.directory`]
      : ["webui.py", `git clone https://github.com/AUTOMATIC1111/stable-diffusion-webui ${engine.directory}, or set engines.${name}.directory`];
  if (typeof names === "string") return critical(`${engine.directory} ${names === "ENOENT" ? "does not exist" : `cannot be read (${names})`}`, fix);
  return names.includes(program) ? ok(join(engine.directory, program)) : critical(`${engine.directory} holds no ${program}`, fix);
}

async function modelOf(patient: Patient, engine: EngineConfig, name: string): Promise<Finding> {
  if (engine.kind === "python") return notChecked("a handler loads what it wants");
  if (engine.kind === "comfyui") return await comfyuiModels(patient, engine);
  return engine.kind === "a1111" ? await checkpointOf(patient, engine, name) : await diffusersModel(patient, engine, name);
}

async function checkpointOf({ at, cwd }: Patient, engine: A1111EngineConfig, name: string): Promise<Finding> {
  const args = [...engine.args, ...engine.extraArgs];
  const given = valueOf(args, "--ckpt");
  if (given !== undefined)
    return await weights(at(resolve(cwd, engine.directory, given)), `Put the checkpoint there, or correct --ckpt in engines.${name}.args.`);
  const dir = at(resolve(cwd, engine.directory, valueOf(args, "--ckpt-dir") ?? "models/Stable-diffusion"));
  const files = await readdir(dir, { recursive: true }).catch(() => []);
  const models = files.filter((file) => [".safetensors", ".ckpt"].includes(extname(file)));
  if (models.length === 0) return critical(`there is no checkpoint in ${dir}, and no --ckpt`, `Put a .safetensors file into ${dir}.`);
  return await several(dir, models);
}

/** A workflow may need none, so that nothing here is critical. */
async function comfyuiModels({ at, cwd }: Patient, engine: ComfyuiEngineConfig): Promise<Finding> {
  const dirs = [join(engine.directory, "models"), ...(engine.models === undefined ? [] : [engine.models])];
  const places = dirs.flatMap((dir) => ["checkpoints", "diffusion_models", "unet"].map((kind) => at(resolve(cwd, dir, kind))));
  const found = await Promise.all(
    places.map(async (dir) => {
      const files = await readdir(dir, { recursive: true }).catch(() => []);
      return { dir, models: files.filter((file) => [".safetensors", ".ckpt", ".sft", ".gguf"].includes(extname(file))) };
    }),
  );
  const some = found.filter(({ models }) => models.length > 0);
  if (some.length === 0)
    return warning(`there is no checkpoint in ${dirs.join(" or ")}`, `Put a .safetensors file into ${join(dirs.at(-1) ?? "", "checkpoints")}.`);
  const looks = await Promise.all(some.map(async ({ dir, models }) => await several(dir, models)));
  return looks.find(({ state }) => state !== "ok") ?? ok(some.map(({ dir, models }) => `${models.length} in ${dir}`).join(", "));
}

async function diffusersModel({ at, valid, cwd }: Patient, engine: DiffusersEngineConfig, name: string): Promise<Finding> {
  if (engine.model === undefined) {
    if (engine.tinyModel) return tiny(join(modelsDirOf(valid), "tiny-sdxl"));
    if (engine.templates !== undefined) return notChecked("its templates name their models; they are looked at by themselves");
    if (engine.modelsDir === undefined) return critical("no model is named", `Set engines.${name}.model to a diffusers folder or a .safetensors file.`);
    const dir = at(resolve(cwd, engine.modelsDir));
    const names = await readdir(dir).catch(() => undefined);
    if (names === undefined) return critical(`${dir} does not exist`, `Create it, or correct engines.${name}.modelsDir.`);
    return names.length > 0 ? ok(`${names.length} in ${dir}`) : critical(`${dir} is empty`, `Put a model into ${dir}.`);
  }
  const path = at(resolve(cwd, engine.model));
  const inside = await readdir(path, { recursive: true }).catch((error: NodeJS.ErrnoException) => error.code ?? "EIO");
  if (inside === "ENOENT" && engine.tinyModel) return tiny(path);
  const fix = `Put the model there, or correct engines.${name}.model.`;
  if (typeof inside === "string") return await weights(path, fix);
  if (!inside.includes("model_index.json")) return critical(`${path} holds no model_index.json, so it is no diffusers model`, fix);
  return await several(
    path,
    inside.filter((file) => extname(file) === ".safetensors"),
  );
}

const tiny = (path: string): Finding => ok(`a tiny one, made on the spot at the first start (${path})`);

/** Looks at so many files of a folder; each costs one small read. */
const maxFiles = 200;

async function several(dir: string, files: readonly string[]): Promise<Finding> {
  const answers = await Promise.all(files.slice(0, maxFiles).map(async (file) => ({ file, answer: await inspectWeights(join(dir, file)) })));
  const broken = answers.flatMap(({ file, answer }) => (answer.type === "broken" ? [`${file}: ${answer.reason}`] : []));
  const sane = answers.filter(({ answer }) => answer.type === "sane").length;
  if (broken.length === 0) return ok(`${dir}, ${files.length} file${files.length === 1 ? "" : "s"} of weights`);
  const state = sane > 0 ? warning : critical;
  return state(
    `${dir}: ${broken.slice(0, 3).join("; ")}${broken.length > 3 ? `; and ${broken.length - 3} more` : ""}`,
    "Delete the file and download it again.",
  );
}

async function weights(path: string, fix: string): Promise<Finding> {
  const answer = await inspectWeights(path);
  switch (answer.type) {
    case "sane":
      return ok(`${path}, ${formatBytes(answer.sizeBytes)}`, { path, sizeBytes: answer.sizeBytes });
    case "missing":
      return critical(`${path} does not exist`, fix);
    case "unreadable":
      return critical(`${path} cannot be read: ${answer.reason}`, `chmod a+r ${path}`);
    case "broken":
      return critical(`${path}: ${answer.reason}`, "Delete the file and download it again.", { path });
  }
}

/** The last `--name VALUE` or `--name=VALUE`. */
function valueOf(args: readonly string[], name: string): string | undefined {
  return args.flatMap((word, index) => (word === name ? [args[index + 1] ?? ""] : word.startsWith(`${name}=`) ? [word.slice(name.length + 1)] : [])).at(-1);
}

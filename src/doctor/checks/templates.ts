import requirementsText from "../../engines/diffusers/helper/requirements.txt" with { type: "text" };
import { join, resolve } from "node:path";
import type { DiffusersEngineConfig } from "../../config/schema/index.ts";
import { FettleError } from "../../errors/fettle-error.ts";
import { loadRecipe } from "../../merge/recipe.ts";
import { type ModelSettings, readModelSettings } from "../../models/settings.ts";
import { modelsDirOf } from "../../plan/needs.ts";
import { lookAtTemplates, type TemplateLook } from "../../templates/look-at-templates.ts";
import { usualVaeOf } from "../../templates/vae-for.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import { folderFinding } from "../models-folder.ts";
import type { Patient } from "../patient.ts";
import { parseRequirements } from "../requirements.ts";
import type { TemplateEngine } from "../template-engine.ts";
import { modelFinding } from "../template-model.ts";
import { installCommand } from "./python.ts";

export const templatesChecks: readonly Check[] = [
  { id: "templates.recipe", subject: "templates", title: "recipe", needs: ["config.valid"], check: (patient) => each(patient, recipe) },
  { id: "templates.model", subject: "templates", title: "model", needs: ["templates.recipe"], check: (patient) => each(patient, models) },
  { id: "templates.peft", subject: "templates", title: "PEFT", needs: ["templates.recipe", "python.found"], check: (patient) => each(patient, peft) },
  { id: "templates.tokens", subject: "templates", title: "tokens", needs: ["templates.recipe"], check: (patient) => each(patient, tokens) },
  { id: "templates.folder", subject: "templates", title: "models folder", needs: ["templates.recipe"], check: (patient) => each(patient, folder) },
];

type Look = (patient: Patient, one: TemplateEngine) => Promise<Finding | readonly Finding[]>;

async function each(patient: Patient, look: Look): Promise<Finding | Finding[]> {
  const engines = patient.engines.flatMap(([name, engine]) => (engine.kind === "diffusers" ? templateEngine(patient, name, engine) : []));
  if (engines.length === 0) return notChecked("no engine of this configuration has templates");
  const found = await Promise.all(engines.map(async (one) => ({ name: one.name, findings: [await look(patient, one)].flat() })));
  return found.flatMap(({ name, findings }) => findings.map((finding) => about(finding.item === undefined ? name : itemOf(name, finding.item), finding)));

  function itemOf(name: string, item: string): string {
    return engines.length === 1 ? item : `${name}/${item}`;
  }
}

function templateEngine({ at, cwd, valid }: Patient, name: string, engine: DiffusersEngineConfig): TemplateEngine[] {
  if (engine.templates === undefined) return [];
  const place = (path: string) => at(resolve(cwd, path));
  return [{ name, engine, file: place(engine.templates), modelsDir: place(engine.modelsDir ?? modelsDirOf(valid)), mergedDirs: engine.mergedDirs.map(place) }];
}

/** As `fettle template` will read them. Throws for a token that no header can hold. */
function settingsOf({ engineEnv, valid }: Patient, { engine, modelsDir }: TemplateEngine): ModelSettings {
  return readModelSettings(engineEnv(engine), { stateDir: valid.stateDir, cacheDir: join(modelsDir, ".fettle") });
}

/** Four checks want the same look. */
const known = new WeakMap<DiffusersEngineConfig, Promise<TemplateLook[]>>();

async function looksOf(patient: Patient, one: TemplateEngine): Promise<TemplateLook[]> {
  const { file, modelsDir, mergedDirs, engine } = one;
  const look = async () => lookAtTemplates({ file, cwd: patient.cwd, modelsDir, mergedDirs, vae: usualVaeOf(engine.vae), models: settingsOf(patient, one) });
  const looks = known.get(engine) ?? look();
  known.set(engine, looks);
  return await looks;
}

async function recipe({ cwd }: Patient, { name, engine, file, modelsDir }: TemplateEngine): Promise<Finding> {
  try {
    const names = loadRecipe(file, { cwd, outDir: modelsDir, plain: true }).map((template) => template.name);
    if (names.length === 0) return critical(`${file} has no template`, "Write one; docs/templates.md shows how.");
    const first = engine.defaultTemplate;
    if (first !== undefined && !names.includes(first))
      return critical(`defaultTemplate is ${first}, ${file} has ${names.join(", ")}`, `Set engines.${name}.defaultTemplate to one of them.`);
    return ok(`${file}: ${names.join(", ")}`, { file, templates: names });
  } catch (error) {
    if (!(error instanceof FettleError)) throw error;
    const { line, column } = error.where ?? {};
    const place = [file, line, column].filter((part) => part !== undefined).join(":");
    const more = error.others.length > 0 ? ` ${error.others.length} more: \`fettle merge ${file} --dry-run\` lists them.` : "";
    const fix = line === undefined ? `Put the recipe there, or set engines.${name}.templates.` : error.hint;
    return critical(`${place}: ${error.message}${more}`, fix, { code: error.code });
  }
}

async function models(patient: Patient, one: TemplateEngine): Promise<Finding[]> {
  const { offline } = settingsOf(patient, one);
  return await Promise.all((await looksOf(patient, one)).map(async (look) => about(look.name, await modelFinding(look, { ...one, offline }))));
}

async function peft(patient: Patient, one: TemplateEngine): Promise<Finding> {
  const names = (await looksOf(patient, one)).filter(({ inputs }) => inputs.some(({ kind }) => kind === "lora")).map(({ name }) => name);
  if (names.length === 0) return ok("no template puts LoRAs on at run time");
  const answer = await patient.python(one.engine);
  if (answer.type !== "known") return notChecked(answer.reason);
  const version = answer.facts.packages["peft"];
  if (version !== undefined) return ok(`${version}, for the LoRAs of ${names.join(", ")}`, { version });
  const wanted = parseRequirements(requirementsText).filter(({ name }) => name === "peft");
  return warning(`${answer.facts.executable} lacks it: the LoRAs of ${names.join(", ")} are left out`, installCommand(answer.facts, wanted));
}

const hubs = [
  { from: "civitai", provider: "Civitai", variable: "CIVITAI_API_KEY" },
  { from: "huggingface", provider: "Hugging Face", variable: "HF_TOKEN" },
] as const;

async function tokens(patient: Patient, one: TemplateEngine): Promise<Finding | Finding[]> {
  const settings = settingsOf(patient, one);
  const wanted = (await looksOf(patient, one)).flatMap(({ inputs }) => inputs.filter(({ state, hasToken }) => state === "to-download" && !hasToken));
  const found = hubs.flatMap(({ from, provider, variable }) => {
    const sources = [...new Set(wanted.filter((input) => input.from === from).map(({ source }) => source))];
    return sources.length === 0 ? [] : [about(provider, tokenFinding(settings[from].token, variable, { from, list: sources.join(", ") }))];
  });
  return found.length > 0 ? found : ok("nothing has to be fetched from a hub");
}

function tokenFinding(token: string | undefined, variable: string, { from, list }: { from: "civitai" | "huggingface"; list: string }): Finding {
  if (token !== undefined) return ok(`${variable} is set, for ${list}`);
  if (from === "huggingface") return notChecked(`${variable} has no value; only gated and private files need it, which their host alone can say: ${list}`);
  return warning(`${variable} has no value; Civitai asks most downloads for it: ${list}`, `Set ${variable} to a key of your account.`);
}

async function folder(patient: Patient, one: TemplateEngine): Promise<Finding> {
  const looks = await looksOf(patient, one);
  const isWritten = one.engine.keepMerged || looks.some(({ inputs }) => inputs.some(({ state }) => state === "to-download"));
  const user = openedAtBoot(patient).includes(one.modelsDir) ? undefined : one.engine.user;
  return await folderFinding(one, { isWritten, user });
}

/** Folders that a step of the boot makes writable for everybody. */
function openedAtBoot({ valid, at, cwd }: Patient): string[] {
  const steps = Object.values(valid.services).flatMap((service) => (service.enabled ? (service.steps ?? []) : []));
  const open = steps.flatMap((step) => ("directories" in step && /[2367]$/.test(step.mode ?? "") ? step.directories : []));
  return open.map((dir) => at(resolve(cwd, dir)));
}

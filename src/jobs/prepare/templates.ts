import { readFileSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname, resolve } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import { suggest } from "../../util/suggest.ts";
import { translateAliases } from "./aliases.ts";
import { type Body, expected, type Invalid, invalid, isInvalid, isObject, show } from "./invalid.ts";
import type { SdapiJob } from "./read-job.ts";

/** What the bundled engine's configuration says of jobs; its launcher gives it as `settings`. */
export interface TemplateSettings {
  /** templates.json, or the same as YAML. */
  readonly templates?: string;
  /** For jobs that name none; left out: the first, unless the engine has a model of its own. */
  readonly defaultTemplate?: string;
  readonly hasModel?: boolean;
  /** Parameters in A1111's names that neither the job nor its template gives. */
  readonly defaults?: Body;
}

/** What a job runs with besides its own words. */
export interface Choice {
  readonly type: "choice";
  readonly template: string | undefined;
  /** Defaults and the template's parameters; the job's own win. */
  readonly usual: Body;
}

export interface TemplateBook {
  /** Reads the file again when it has changed. */
  refresh(): Promise<void>;
  choose(job: SdapiJob): Choice | Invalid;
}

/** More names help nobody. */
const mostNames = 20;

/** The settings of the first engine of the bundled kind that has any. */
export function templateSettingsOf(engines: readonly { readonly kind: string; readonly settings?: Body }[]): TemplateSettings | undefined {
  return engines.find(({ kind, settings }) => kind === "diffusers" && settings)?.settings as TemplateSettings | undefined;
}

/** Names and parameters alone: files, LoRAs and strengths are read where they are used, by the whole schema. */
export function createTemplateBook(settings: TemplateSettings): TemplateBook {
  const path = settings.templates === undefined ? undefined : resolve(settings.templates);
  const isYaml = path !== undefined && [".yaml", ".yml"].includes(extname(path).toLowerCase());
  let stamp = "";
  let known: ReadonlyMap<string, Body> | Invalid | undefined;

  const isOld = () => {
    const now = path === undefined ? "none" : stampOf(path);
    const changed = now !== stamp;
    stamp = now;
    return changed;
  };
  const read = (parse: () => unknown) => {
    try {
      known = readTemplates(parse());
    } catch (error) {
      known = invalid("input.template", `the templates in ${path} cannot be read (${reasonOf(error).slice(0, 200)})`, "merge.invalid-recipe");
    }
  };
  const readNow = () => {
    if (path !== undefined && !isYaml && isOld()) read(() => JSON.parse(readFileSync(path, "utf8")) as unknown);
  };
  return {
    async refresh() {
      if (path === undefined || !isYaml || !isOld()) return;
      // Loaded where somebody writes YAML; the worker begins without it.
      const [{ parse }, text] = await Promise.all([import("yaml"), readFile(path, "utf8").catch(() => "")]);
      read(() => parse(text, { maxAliasCount: 100, logLevel: "silent" }) as unknown);
    },
    choose({ body, at, answersImages }) {
      const { template } = body;
      const defaults = settings.defaults ?? {};
      if (!answersImages) return { type: "choice", template: undefined, usual: {} };
      if (path === undefined) return { type: "choice", template: undefined, usual: defaults };
      readNow();
      if (template !== undefined && template !== null && typeof template !== "string") return expected(`${at}.template`, "a template's name", template);
      if (known === undefined) return { type: "choice", template: undefined, usual: defaults };
      if (isInvalid(known)) return known;
      // Whoever names a checkpoint means that one, not the default template's.
      const overrides = body["override_settings"];
      const namesModel = isObject(overrides) && typeof overrides["sd_model_checkpoint"] === "string";
      if (namesModel && typeof template !== "string") return { type: "choice", template: undefined, usual: defaults };
      const name = template ?? settings.defaultTemplate ?? (settings.hasModel ? undefined : [...known.keys()][0]);
      if (name === undefined) return { type: "choice", template: undefined, usual: defaults };
      const parameters = known.get(name);
      if (!parameters) return unknownTemplate(`${at}.template`, name, [...known.keys()]);
      return { type: "choice", template: name, usual: mergeBodies(defaults, parameters) };
    },
  };
}

/** The job's own words win over what is usual; null says nothing. Of `override_settings` each name counts by itself. */
export function mergeBodies(usual: Body, own: Body): Body {
  const said = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null));
  const [first, second] = [usual["override_settings"], said["override_settings"]];
  const both = isObject(first) && isObject(second) ? { override_settings: { ...first, ...second } } : {};
  return { ...usual, ...said, ...both };
}

function unknownTemplate(path: string, name: string, names: readonly string[]): Invalid {
  const near = name.length <= 100 ? suggest(name, names) : undefined;
  const sorted = near === undefined ? names : [near, ...names.filter((one) => one !== near)];
  const rest = sorted.length > mostNames ? ` and ${sorted.length - mostNames} more` : "";
  return invalid(path, `there is no template ${show(name)}; there are: ${sorted.slice(0, mostNames).join(", ") || "none"}${rest}`);
}

/** By name: `{"templates": …}` or bare, an object by name or a list whose items have names. Throws what is wrong. */
function readTemplates(value: unknown): ReadonlyMap<string, Body> {
  const inner = isObject(value) && "templates" in value ? value["templates"] : value;
  if (!Array.isArray(inner) && !isObject(inner)) throw new Error("expected templates by name, or a list of them");
  const entries = Array.isArray(inner)
    ? (inner as readonly unknown[]).map((one, index) => [nameOf(one) ?? `template-${index + 1}`, one] as const)
    : Object.entries(inner);
  return new Map(entries.map(([name, one]) => [name, parametersOf(name, one)]));
}

function nameOf(one: unknown): string | undefined {
  return isObject(one) && typeof one["name"] === "string" ? one["name"] : undefined;
}

function parametersOf(name: string, one: unknown): Body {
  if (!isObject(one)) throw new Error(`${name}: expected keys with values`);
  const { parameters } = one;
  if (parameters === undefined || parameters === null) return {};
  if (!isObject(parameters)) throw new Error(`${name}.parameters: expected keys with values`);
  const translated = translateAliases(parameters, `${name}.parameters`);
  if (isInvalid(translated)) throw new Error(translated.failure.message);
  return translated.body;
}

function stampOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return "missing";
  }
}

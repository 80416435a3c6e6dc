import { resolve } from "node:path";
import { type Diagnostic, FettleError } from "../errors/fettle-error.ts";
import { crossCheck } from "./cross-check.ts";
import { defaultsTree } from "./defaults.ts";
import { diagnose, diagnoseRemoved, guessKinds } from "./diagnose.ts";
import { readEnvFiles } from "./env-files.ts";
import { environmentTree, unknownVariables } from "./env.ts";
import { flagsTree, type Override } from "./flags.ts";
import { openLayers } from "./layers.ts";
import { locate } from "./locate.ts";
import { merge, prune, type Removed } from "./merge.ts";
import { type Origins, originsOf } from "./origins.ts";
import { defaultProfile } from "./profiles/index.ts";
import { secretsOf } from "../log/mask.ts";
import { type Config, configSchema } from "./schema/index.ts";
import { collectSecrets, maskDiagnostic } from "./secrets.ts";
import { findDefaultFile, readSourceFile } from "./source-file.ts";
import { type Environment, substitute } from "./substitute.ts";
import { type Source, toValue, type Tree } from "./tree.ts";

export interface LoadOptions {
  /** A built-in profile. Without `file`, that profile alone: no file is looked for. */
  readonly profile?: string | undefined;
  /** A YAML file; with `profile`, its keys lie over that profile and its own `extends` is not used. */
  readonly file?: string | undefined;
  readonly flags?: ConfigFlags | undefined;
  readonly env: Environment;
  readonly cwd: string;
  /** Of the user whose folders are the defaults; this process's own unless given. */
  readonly uid?: number;
}

export interface ConfigFlags {
  /** `path=value`, as typed after --set. */
  readonly set?: readonly string[];
  readonly overrides?: readonly Override[];
}

export interface LoadedConfig {
  readonly config: Config;
  /** The profile's name, or `custom` for a file that extends none. */
  readonly profile: string;
  /** Which layer each value came from, by path (`engines.webui.port`); a path that is absent came from the schema's defaults. */
  readonly origins: Origins;
  /** Texts that must never be printed. */
  readonly secrets: readonly string[];
  /** Variables from `envFiles` that the real environment does not set. */
  readonly fileEnv: Readonly<Record<string, string>>;
  /** The files that were read. */
  readonly files: readonly string[];
  readonly warnings: readonly string[];
  /** The same mistake, found later by its path alone, with its place in the text. */
  locate(error: FettleError): FettleError;
}

/** Loads the effective configuration, or throws one FettleError that holds every mistake found. Reads at most one file. */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { env, cwd } = options;
  const file = chooseFile(options);
  const source = file === undefined ? undefined : readMasked(file, options);
  const layers = openLayers(source, chooseProfile(options, source), env);
  const flags = flagsTree(options.flags?.set ?? [], options.flags?.overrides ?? []);
  const removed: Removed[] = [];
  let merged: Tree = defaultsTree(env, options.uid ?? process.getuid?.() ?? 0);
  for (const layer of layers.trees) merged = merge(merged, layer, removed);
  const sourced = readEnvFiles(flags ? merge(merged, flags) : merged, env, cwd);
  const known = { ...env, ...sourced.variables };
  const variables = environmentTree(known, flags ? merge(merged, flags) : merged);
  for (const layer of [variables, flags]) if (layer) merged = merge(merged, layer, removed);

  const { tree, errors: unset, missing } = substitute(prune(merged, removed), known);
  const secrets = collectSecrets([...layers.trees, tree], known);
  const { config, mistakes } = check(tree, removed, layers.incomplete, missing);
  const crossed = crossCheck(tree);
  const errors = distinct([...layers.errors, ...sourced.errors, ...unset, ...mistakes, ...crossed.errors]);
  if (errors.length > 0 || !config) throw combine(errors.map((one) => maskDiagnostic(one, secrets)));
  return {
    config: resolveFolders(config, cwd),
    profile: layers.profile ?? "custom",
    origins: originsOf(tree),
    secrets,
    files: [...(file === undefined ? [] : [resolve(cwd, file)]), ...sourced.files],
    fileEnv: sourced.variables,
    warnings: [...unknownVariables(known), ...crossed.warnings],
    locate: (error) => locate(error, tree, secrets),
  };
}

function readMasked(file: string, { cwd, env }: LoadOptions): Source {
  try {
    return readSourceFile(file, cwd);
  } catch (error) {
    if (!(error instanceof FettleError)) throw error;
    const { code, message, hint, where } = error;
    throw combine([maskDiagnostic({ code, message, hint, ...(where && { where }) }, secretsOf(env))]);
  }
}

function chooseFile({ file, profile, env, cwd }: LoadOptions): string | undefined {
  if (file !== undefined) return file;
  const named = env["FETTLE_CONFIG"];
  if (named) return named;
  return profile === undefined ? findDefaultFile(cwd) : undefined;
}

/** Undefined leaves the choice to the file's own `extends`, which FETTLE_PROFILE (an image's default) does not overrule. */
function chooseProfile({ profile, env }: LoadOptions, source: Source | undefined): { name: string } | undefined {
  if (profile !== undefined) return { name: profile };
  const fallback = env["FETTLE_PROFILE"] || (source ? undefined : defaultProfile);
  return fallback === undefined || (source && /^extends\s*:/m.test(source.text)) ? undefined : { name: fallback };
}

/** A configuration is parsed once in a process: compiling the schema first costs more than it saves. */
const parseOnce = { jitless: true } as const;

function check(tree: Tree, removed: readonly Removed[], incomplete: boolean, missing: ReadonlySet<string>): { config?: Config; mistakes: Diagnostic[] } {
  const value = toValue(tree);
  const about = { schema: configSchema, tree, value };
  const gone = diagnoseRemoved(removed, about);
  const result = configSchema.safeParse(value, parseOnce);
  if (result.success) return { ...(gone.length === 0 && { config: result.data }), mistakes: gone };
  const guessed = guessKinds(result.error.issues, value);
  const further = guessed === undefined ? [] : diagnose(configSchema.safeParse(guessed, parseOnce).error?.issues ?? [], { ...about, value: guessed });
  const mistakes = [...diagnose(result.error.issues, about), ...further].filter(
    ({ message, where }) => !(incomplete && message.includes(" is missing, ")) && !missing.has(where?.path ?? ""),
  );
  return { mistakes: [...mistakes, ...gone] };
}

/** Aliases and shared branches can bring one mistake twice. */
function distinct(all: readonly Diagnostic[]): Diagnostic[] {
  const key = ({ message, where }: Diagnostic) => JSON.stringify([message, where]);
  return [...new Map(all.map((one) => [key(one), one])).values()];
}

/** More mistakes than this are counted, not listed. */
const maxListed = 50;

/** In reading order: mistakes of one file from top to bottom. */
function combine(errors: readonly Diagnostic[]): FettleError {
  const at = (one: Diagnostic) => (one.where?.line ?? 0) * 1e7 + (one.where?.column ?? 0);
  const sorted = errors.toSorted((a, b) => (a.where?.file === b.where?.file ? at(a) - at(b) : 0));
  const [first, ...others] = sorted.slice(0, maxListed);
  if (!first) throw new Error("a configuration was refused without a reason");
  if (sorted.length > maxListed)
    others.push({ code: "config.invalid", message: "Cannot use config: there are more mistakes than these.", hint: "Mend these first." });
  return new FettleError(first.code, first.message, {
    ...(first.hint !== undefined && { hint: first.hint }),
    ...(first.where && { where: first.where }),
    others,
  });
}

/** Folders may be written relative to where fettle was started; everything after this sees absolute ones. */
function resolveFolders(config: Config, cwd: string): Config {
  const { files } = config.results;
  return {
    ...config,
    stateDir: resolve(cwd, config.stateDir),
    logDir: resolve(cwd, config.logDir),
    runtimeDir: resolve(cwd, config.runtimeDir),
    results: files ? { ...config.results, files: { ...files, dir: resolve(cwd, files.dir) } } : config.results,
  };
}

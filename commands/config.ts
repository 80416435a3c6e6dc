import { existsSync, lstatSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { unknownProfile } from "../src/config/layers.ts";
import { defaultProfile, profiles } from "../src/config/profiles/index.ts";
import { showValue, showYaml } from "../src/config/show.ts";
import { type Diagnostic, FettleError, reasonOf } from "../src/errors/fettle-error.ts";
import { createLog } from "../src/log/log.ts";
import { suggest } from "../src/util/suggest.ts";
import { writeFileAtomic } from "../src/util/atomic-write.ts";
import { type Args, type Command, type Io, textFlag } from "./command.ts";
import { configFlags, loadFromArgs, located } from "./load-config.ts";

type Action = (args: Args, io: Io, file: string | undefined) => number | Promise<number>;

const actions: Readonly<Record<string, { readonly run: Action; readonly flags: readonly string[]; readonly takesFile: boolean }>> = {
  show: { run: show, flags: ["profile", "config", "set", "origins", "source"], takesFile: false },
  check: { run: check, flags: ["profile", "config", "set"], takesFile: true },
  schema: { run: schema, flags: [], takesFile: false },
  init: { run: init, flags: ["profile", "force"], takesFile: true },
};
const commonFlagNames = ["json", "logFormat", "logLevel"];
const schemaFile = "fettle.schema.json";

export const command: Command = {
  name: "config",
  summary: "Show, check or begin a configuration: show, check [FILE], schema, init [FILE]",
  positionals: "<action> [file]",
  flags: [
    ...configFlags,
    { usage: "--origins", summary: "show: the origin of every value, defaults and lines included" },
    { usage: "--source", summary: "show: the profile's own YAML as it is embedded" },
    { usage: "--force", summary: "init: overwrite an existing file" },
  ],
  examples: [
    "fettle config show --profile a1111-runpod",
    "fettle config show --config fettle.yaml --origins",
    "fettle config check fettle.yaml",
    "fettle config schema > fettle.schema.json",
    "fettle config init --profile demo",
  ],
  exits: [],
  async run(args, io) {
    const [name = "", file] = args.positionals;
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (!action) throw unknownAction(name);
    for (const flag of Object.keys(args.flags)) {
      if (![...action.flags, ...commonFlagNames].includes(flag))
        throw new FettleError("cli.unknown-flag", `Cannot run config ${name}: it does not take --${flag}.`);
    }
    if (file !== undefined && !action.takesFile) throw new FettleError("cli.bad-value", `Cannot run config ${name}: "${file}" is one argument too many.`);
    return await action.run(args, io, file);
  },
};

function unknownAction(name: string): FettleError {
  const near = suggest(name, Object.keys(actions));
  return new FettleError("cli.unknown-command", `Cannot run config ${name}: there is no such action.`, {
    hint: near ? `Did you mean \`fettle config ${near}\`?` : `Actions: ${Object.keys(actions).join(", ")}.`,
  });
}

function show(args: Args, io: Io): number {
  if (args.flags["source"]) return showSource(args, io);
  const loaded = loadFromArgs(args, io);
  warn(loaded.warnings, loaded.secrets);
  if (args.flags["json"]) {
    const { profile, files, warnings, origins } = loaded;
    io.out(`${JSON.stringify({ profile, files, config: showValue(loaded), origins: Object.fromEntries(origins), warnings })}\n`);
  } else io.out(showYaml(loaded, { everyOrigin: args.flags["origins"] === true }));
  return 0;
}

function showSource(args: Args, io: Io): number {
  const name = textFlag(args, "profile");
  if (name === undefined)
    throw new FettleError("cli.bad-value", "Cannot show a profile's source: --profile is missing.", { hint: `Profiles: ${Object.keys(profiles).join(", ")}.` });
  const source = knownProfile(name);
  io.out(args.flags["json"] ? `${JSON.stringify({ profile: name, source })}\n` : source);
  return 0;
}

function knownProfile(name: string): string {
  const source = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (source !== undefined) return source;
  const { code, message, ...more } = unknownProfile(name);
  throw new FettleError(code, message, more);
}

async function check(args: Args, io: Io, file: string | undefined): Promise<number> {
  const flags = file === undefined ? args.flags : { ...args.flags, config: file };
  try {
    const loaded = loadFromArgs({ ...args, flags }, io);
    const { profile, files, warnings, secrets } = loaded;
    const [{ rehearsePlan }, { kinds }] = await Promise.all([import("../src/plan/rehearse.ts"), import("../src/engines/index.ts")]);
    located(loaded, () => rehearsePlan(loaded.config, { profile, launchers: kinds }));
    warn(warnings, secrets);
    if (args.flags["json"]) io.out(`${JSON.stringify({ ok: true, profile, files, errors: [], warnings })}\n`);
    else
      io.out(
        `${files[0] === undefined ? `Profile ${profile}` : basename(files[0])} is valid${files[0] !== undefined && profile !== "custom" ? ` (profile ${profile})` : ""}.\n`,
      );
    return 0;
  } catch (error) {
    if (!(error instanceof FettleError) || !args.flags["json"]) throw error;
    const { code, message, hint, where } = error;
    const errors: Diagnostic[] = [{ code, message, hint, ...(where && { where }) }, ...error.others];
    io.out(`${JSON.stringify({ ok: false, errors, warnings: [] })}\n`);
    return error.exitCode;
  }
}

async function schema(_args: Args, io: Io): Promise<number> {
  const { formatJsonSchema } = await import("../src/config/json-schema.ts");
  io.out(formatJsonSchema());
  return 0;
}

/** Writes the starter and, beside it, the schema that its first line names, so that editors complete without a network. */
async function init(args: Args, io: Io, file = "fettle.yaml"): Promise<number> {
  const profile = textFlag(args, "profile") ?? defaultProfile;
  knownProfile(profile);
  const path = resolve(io.cwd, file);
  const beside = join(dirname(path), schemaFile);
  const force = args.flags["force"] === true;
  const { formatJsonSchema, schemaTitle } = await import("../src/config/json-schema.ts");
  const { starterFile } = await import("../src/config/starter.ts");
  refuseToOverwrite(path, force);
  if (existsSync(beside) && !isOurs(beside, schemaTitle)) refuseToOverwrite(beside, force);
  write(beside, formatJsonSchema());
  write(path, starterFile(profile, `./${schemaFile}`));
  io.out(args.flags["json"] ? `${JSON.stringify({ file: path, schema: beside, profile })}\n` : `${path}\n`);
  return 0;
}

function refuseToOverwrite(path: string, force: boolean): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there || (force && there.isFile())) return;
  throw new FettleError("cli.bad-value", `Cannot write ${path}: it exists${there.isFile() ? "" : " and is no regular file"}.`, {
    hint: there.isFile() ? "Name another file, or overwrite it with --force." : "Name another file.",
  });
}

function isOurs(path: string, title: string): boolean {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { title?: unknown }).title === title;
  } catch {
    return false;
  }
}

function write(path: string, content: string): void {
  try {
    writeFileAtomic(path, content);
  } catch (error) {
    throw new FettleError("supervise.cannot-write", `Cannot write ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

function warn(warnings: readonly string[], secrets: readonly string[]): void {
  const log = createLog({ secrets });
  for (const line of warnings) log.warn(line);
}

import { type LoadedConfig, loadConfig } from "../src/config/load.ts";
import type { Override } from "../src/config/flags.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { type Args, type Flag, type Io, textFlag } from "./command.ts";

/** The flags of every command that reads a configuration. */
export const configFlags: readonly Flag[] = [
  { usage: "--profile <name>", summary: "A built-in profile; alone, no file is looked for" },
  { usage: "--config <file>", summary: "A YAML file; default $FETTLE_CONFIG, ./fettle.yaml, ./fettle.yml, /etc/fettle/fettle.yaml" },
  { usage: "--set <path=value>", summary: "Set one key, such as sources.http.port=8001; may be repeated", repeat: true },
];

/** Loads the configuration that a command line asks for; `more` are values of the command's own flags. */
export function loadFromArgs(args: Args, io: Pick<Io, "env" | "cwd">, more: readonly Override[] = []): LoadedConfig {
  const { set } = args.flags;
  return loadConfig({
    profile: textFlag(args, "profile"),
    file: textFlag(args, "config"),
    env: io.env,
    cwd: io.cwd,
    flags: { set: Array.isArray(set) ? (set as readonly string[]) : [], overrides: [...commonOverrides(args), ...more] },
  });
}

/** Runs what looks further into a configuration; a mistake that it finds gets its place in the file. */
export function located<T>(loaded: LoadedConfig, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw error instanceof FettleError ? loaded.locate(error) : error;
  }
}

/** `--log-format` and `--log-level` as the strongest layer. */
function commonOverrides(args: Args): Override[] {
  const rows = [
    ["logFormat", "--log-format", "format"],
    ["logLevel", "--log-level", "level"],
  ] as const;
  return rows.flatMap(([key, flag, name]) => {
    const value = textFlag(args, key);
    return value === undefined ? [] : [{ path: ["log", name], value, flag }];
  });
}

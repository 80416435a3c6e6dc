// commands/ owns the command line: one file per subcommand with its flags, examples, exit codes and run().
// A command tells the story; the work lives in src/. stdout is data, stderr is talk.
import { FettleError } from "../src/errors/fettle-error.ts";
import { suggest } from "../src/util/suggest.ts";
import { cac } from "cac";

export interface Flag {
  /** As cac writes it: `--out <path>`, `--json`, `--wait [duration]`. */
  readonly usage: string;
  readonly summary: string;
  /** May be given several times; the value is then always a list. */
  readonly repeat?: true;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Positional arguments as cac writes them: `[recipe]`, `<name>`, `[...files]`. */
  readonly positionals?: string;
  readonly flags: readonly Flag[];
  readonly examples: readonly string[];
  /** Exit codes beyond the common ones (0 done, 2 usage, 70 bug), one line each. */
  readonly exits: readonly string[];
  run(args: Args, io: Io): Promise<number>;
}

/** Parsed arguments. Values stay text as typed: `--seed 007` and `--prompt 1e3` reach the command unchanged. */
export interface Args {
  readonly positionals: readonly string[];
  /** camelCase names; true for a flag without a value, a list for a repeated one. */
  readonly flags: Readonly<Record<string, string | true | readonly string[] | undefined>>;
}

/** What a command may touch of the world; tests pass their own. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** stdout: data for a program or a pipe. */
  out(text: string): void;
  /** Aborts on SIGINT or SIGTERM, unless the command takes signals itself (`start`, `work`). */
  readonly signal: AbortSignal;
}

/** Flags that every command has. */
export const commonFlags: readonly Flag[] = [
  { usage: "--json", summary: "Print one JSON value on stdout" },
  { usage: "--log-format <format>", summary: "auto, pretty, plain, json or runpod" },
  { usage: "--log-level <level>", summary: "error, warn, info or debug" },
];

// cac turns every value that looks like a number into one, which loses `007` and `1e3`; a sentinel in front keeps it text.
const sentinel = "\u0001";

/** Parses a command's own argv (without its name). Returns "help" when help was asked for and printed. */
export function parseArgs(command: Command, argv: readonly string[]): Args | "help" {
  const cli = cac("fettle");
  const declared = cli.command([command.name, command.positionals].filter(Boolean).join(" "), command.summary);
  const flags = [...command.flags, ...commonFlags];
  for (const { usage, summary } of flags) declared.option(usage, summary);
  for (const example of command.examples) declared.example(`  $ ${example}`);
  cli.help((sections) => [
    ...sections,
    {
      title: "Exit codes",
      body: ["0   done", ...command.exits, "2   wrong usage or configuration", "70  a bug in fettle"].map((line) => `  ${line}`).join("\n"),
    },
  ]);
  if (argv.includes("--help") || argv.includes("-h")) {
    cli.parse(["", "", command.name, "--help"], { run: false });
    return "help";
  }
  checkFlags(argv, flags, command.name);
  const { args, options } = cli.parse(["", "", command.name, ...protect(argv, flags)], { run: false });
  const plain = (value: unknown) => (typeof value === "string" ? value.replace(sentinel, "") : String(value));
  const values: Record<string, string | true | string[]> = {};
  for (const flag of flags) {
    const key = camel(flagName(flag));
    const value: unknown = options[key];
    if (value === undefined || value === false) continue;
    if (flag.repeat) values[key] = [value].flat().map(plain);
    else if (Array.isArray(value)) throw new FettleError("cli.bad-value", `Cannot run ${command.name}: --${flagName(flag)} was given ${value.length} times.`);
    else values[key] = value === true ? true : plain(value);
    if (value === true && flag.usage.includes("<")) throw new FettleError("cli.bad-value", `Cannot run ${command.name}: --${flagName(flag)} needs a value.`);
  }
  const positionals = [...args, ...(options["--"] as readonly string[])].map(plain);
  checkPositionals(command, positionals);
  return { positionals, flags: values };
}

const flagName = (flag: Flag): string => /--([a-z0-9-]+)/.exec(flag.usage)?.[1] ?? "";
const camel = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

function protect(argv: readonly string[], flags: readonly Flag[]): string[] {
  const takesValue = new Map(flags.map((flag) => [flagName(flag), flag.usage.includes("<") ? "always" : flag.usage.includes("[") ? "maybe" : "never"]));
  const out: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const token = argv[index] ?? "";
    if (token === "--") return [...out, ...argv.slice(index)];
    const match = /^--([^=]+)(?:=(.*))?$/s.exec(token);
    if (!match) {
      out.push(sentinel + token);
      continue;
    }
    const next = argv[index + 1];
    const wants = takesValue.get(match[1] ?? "");
    if (match[2] !== undefined) out.push(`--${match[1]}=${sentinel}${match[2]}`);
    else if (next !== undefined && (wants === "always" || (wants === "maybe" && !next.startsWith("-")))) {
      out.push(`--${match[1]}=${sentinel}${next}`);
      index++;
    } else out.push(token);
  }
  return out;
}

function checkFlags(argv: readonly string[], flags: readonly Flag[], name: string): void {
  const known = flags.map(flagName);
  const takesValue = new Set(flags.filter((flag) => flag.usage.includes("<")).map(flagName));
  for (let index = 0; index < argv.length; index++) {
    const token = argv[index] ?? "";
    if (token === "--") return;
    if (!token.startsWith("-") || token === "-") continue;
    const flag = token.replace(/^--?/, "").replace(/=.*$/s, "");
    if (!token.startsWith("--") || !known.includes(flag)) throw unknownFlag(token.replace(/=.*$/s, ""), known, name);
    if (!takesValue.has(flag) || token.includes("=")) continue;
    index++;
    const value = argv[index];
    if (value !== undefined && looksLikeFlag(value)) throw flagAsValue(flag, value, name);
  }
}

/** A value such as `--json` is nearly always a forgotten one; a number (`-1`), `-` for stdin and other text stay values. */
const looksLikeFlag = (value: string): boolean => value === "--" || /^--[a-z]/i.test(value);

function flagAsValue(flag: string, value: string, name: string): FettleError {
  const quoted = /[^\w./:=@%+,-]/.test(value) ? `'${value.replaceAll("'", "'\\''")}'` : value;
  return new FettleError("cli.bad-value", `Cannot run ${name}: --${flag} is followed by ${value}, which looks like a flag, not like its value.`, {
    hint: `If that is the value, write --${flag}=${quoted}.`,
  });
}

function unknownFlag(token: string, known: readonly string[], name: string): FettleError {
  const near = suggest(token.replace(/^-+/, ""), [...known, "help"]);
  return new FettleError("cli.unknown-flag", `Cannot run ${name}: unknown flag ${token}.`, {
    hint: near ? `Did you mean --${near}?` : `Run \`fettle ${name} --help\` for its flags.`,
  });
}

function checkPositionals(command: Command, given: readonly string[]): void {
  const declared = (command.positionals ?? "").split(" ").filter(Boolean);
  const required = declared.filter((one) => one.startsWith("<")).length;
  const most = declared.some((one) => one.includes("...")) ? Number.POSITIVE_INFINITY : declared.length;
  if (given.length < required) throw new FettleError("cli.bad-value", `Cannot run ${command.name}: ${declared[given.length]} is missing.`);
  if (given.length > most) throw new FettleError("cli.bad-value", `Cannot run ${command.name}: "${given[most]}" is one argument too many.`);
}

/** A flag's single value as text, or undefined. */
export function textFlag(args: Args, key: string): string | undefined {
  const value = args.flags[key];
  return typeof value === "string" ? value : undefined;
}

/** A flag's value as a number within bounds; a clear usage error otherwise. */
export function numberFlag(
  args: Args,
  key: string,
  { min, max, integer = true, multipleOf = 1 }: { min: number; max: number; integer?: boolean; multipleOf?: number },
): number | undefined {
  const text = textFlag(args, key);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && value >= min && value <= max && (!integer || value % multipleOf === 0)) return value;
  const kind = multipleOf > 1 ? `multiple of ${multipleOf}` : `${integer ? "whole " : ""}number`;
  throw new FettleError("cli.bad-value", `Cannot use --${key} ${text}: expected a ${kind} from ${min} to ${max}.`);
}

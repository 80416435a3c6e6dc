// log/ owns how talk reaches a person: one interface over consola, four looks (pretty, plain, json, runpod), secrets masked.
// Takes: messages with fields. Gives: lines on stderr. Must not know who speaks; data for a program goes to stdout, never here.
import { type ConsolaInstance, createConsola, type LogObject, LogLevels } from "consola/core";
import { maskSecrets } from "./mask.ts";
import { runpodLine } from "./runpod-line.ts";

/** `runpod`: JSON lines as RunPod's console reads them. */
export type LogFormat = "pretty" | "plain" | "json" | "runpod";
export type LogLevel = "error" | "warn" | "info" | "debug";

/** Fields that stand beside a message: in json as keys, in plain and pretty only `service` and `job` are drawn. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  success(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A line as it stands, without level or colour (a seed's own words, a child's output). */
  line(text: string, fields?: LogFields): void;
}

export interface LogOptions {
  /** `auto`: pretty on a terminal, else plain. Default auto. */
  readonly format?: LogFormat | "auto";
  readonly level?: LogLevel;
  /** Values that must never be printed (API keys, tokens); each occurrence becomes `***`. */
  readonly secrets?: readonly string[];
  readonly write?: (text: string) => void;
}

const levels: Record<LogLevel, number> = { error: LogLevels.error, warn: LogLevels.warn, info: LogLevels.info, debug: LogLevels.debug };
const words: Record<string, string> = { error: "ERROR", warn: "WARNING", success: "SUCCESS", info: "INFO", debug: "DEBUG" };
const colours: Record<string, string> = { error: "31", warn: "33", success: "32", info: "36", debug: "90" };

/** `auto` → runpod on that platform, pretty on a terminal, else plain. Children write to pipes, so it is decided once, where the terminal can be seen. */
export function resolveFormat(format: LogFormat | "auto", { onRunpod = false }: { onRunpod?: boolean } = {}): LogFormat {
  if (format !== "auto") return format;
  if (onRunpod) return "runpod";
  return process.stderr.isTTY ? "pretty" : "plain";
}

export function createLog(options: LogOptions = {}): Log {
  const write = options.write ?? ((text: string) => void process.stderr.write(text));
  const format = resolveFormat(options.format ?? "auto");
  const secrets = options.secrets ?? [];
  const consola: ConsolaInstance = createConsola({
    level: levels[options.level ?? "info"],
    throttle: 0,
    reporters: [{ log: (entry) => write(`${draw(entry, format, secrets)}\n`) }],
  });
  const say = (type: "error" | "warn" | "success" | "info" | "debug" | "log") => (message: string, fields?: LogFields) => consola[type](message, fields ?? {});
  return { error: say("error"), warn: say("warn"), success: say("success"), info: say("info"), debug: say("debug"), line: say("log") };
}

function draw(entry: LogObject, format: LogFormat, secrets: readonly string[]): string {
  if (format !== "runpod") return maskSecrets(formatEntry(entry, format), secrets);
  const [message, fields] = entry.args as [string, LogFields];
  // Masked first: a cut could leave half of a secret.
  return runpodLine(entry.type, maskSecrets(message, secrets), fields);
}

function formatEntry(entry: LogObject, format: LogFormat): string {
  const [message, fields] = entry.args as [string, LogFields];
  if (format === "json") return JSON.stringify({ time: entry.date.toISOString(), level: entry.type === "log" ? "info" : entry.type, message, ...fields });
  const who = typeof fields["service"] === "string" ? `${fields["service"]} | ` : typeof fields["job"] === "string" ? `job ${fields["job"]} | ` : "";
  if (entry.type === "log") return who + message;
  const word = `[${words[entry.type]}]`;
  return `${format === "pretty" ? `\u001b[${colours[entry.type]}m${word}\u001b[0m` : word} ${who}${message}`;
}

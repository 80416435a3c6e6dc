// The entry: argv → load ONE command → run → one catch that prints. The only file in src/ that sees commands/.
import { commands } from "../commands/index.ts";
import { version } from "./version.ts";

// A reader that leaves early (`| head`) is no failure of ours; without a listener the runtime prints a stack and dies.
// Talk that nobody can keep (a full disk under stderr) must not end the work either, data that was not written is a failure.
process.stderr.on("error", () => undefined);
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  process.stderr.write(`✖ Cannot write the output: ${error.message}.\n`);
  process.exit(1);
});

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  if (first === "--version" || first === "-v") return print(rest.includes("--json") ? JSON.stringify({ version }) : `fettle ${version}`);
  if (first === undefined || first === "--help" || first === "-h" || first === "help") return print(helpText());
  try {
    return await runCommand(first, rest);
  } catch (error) {
    return await report(error, argv.includes("--json"));
  }
}

async function runCommand(name: string, argv: readonly string[]): Promise<number> {
  const row = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!row) throw await unknownCommand(name);
  if (name === "start" && process.pid === 1) (await import("./supervise/init/pid-one.ts")).putInitInFront(process.argv.slice(2), process.env);
  const { command } = await row.load();
  const { parseArgs } = await import("../commands/command.ts");
  const args = parseArgs(command, argv);
  if (args === "help") return 0;
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  // Whoever read the output is gone: what only prints (`service logs --follow`) has nothing left to do.
  process.stdout.once("error", onSignal);
  return await command.run(args, { env: process.env, cwd: process.cwd(), out: (text) => void process.stdout.write(text), signal: stop.signal });
}

async function unknownCommand(name: string): Promise<Error> {
  const { FettleError } = await import("./errors/fettle-error.ts");
  const { suggest } = await import("./util/suggest.ts");
  if (name.startsWith("-")) return new FettleError("cli.unknown-flag", `Cannot read the command line: a command comes first, not ${name}.`);
  const near = suggest(name, Object.keys(commands));
  return new FettleError("cli.unknown-command", `Cannot run "${name}": there is no such command.`, near ? { hint: `Did you mean \`fettle ${near}\`?` } : {});
}

/** The one catch: a FettleError is the user's matter, anything else is a bug with its stack. */
async function report(error: unknown, json: boolean): Promise<number> {
  const { FettleError } = await import("./errors/fettle-error.ts");
  const { formatError, errorToJson } = await import("./errors/print.ts");
  if (error instanceof FettleError) {
    if (json) process.stdout.write(`${JSON.stringify({ error: errorToJson(error) })}\n`);
    process.stderr.write(`${formatError(error, process.stderr.columns ?? 80)}\n`);
    return error.exitCode;
  }
  const stack = error instanceof Error ? error.stack : String(error);
  process.stderr.write(`✖ A bug in fettle ${version}; please report it with these lines.\n${stack}\n`);
  if (json) process.stdout.write(`${JSON.stringify({ error: { code: "bug", message: String(error) } })}\n`);
  return 70;
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function helpText(): string {
  const shown = Object.entries(commands).filter(([, row]) => !row.internal);
  return [
    "fettle boots, supervises, feeds, checks and diagnoses image-generation engines in a GPU container.",
    "",
    "Usage: fettle <command> [flags]",
    "",
    ...shown.map(([name, row]) => `  ${name.padEnd(10)} ${row.summary}`),
    "",
    "  fettle <command> --help   its flags, examples and exit codes",
    "  fettle --version          the version",
  ].join("\n");
}

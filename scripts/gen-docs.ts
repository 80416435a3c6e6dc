// Writes docs/errors.md, docs/environment.md, docs/cli.md and README's command table from the sources; --check fails
// when a committed file differs.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, commonFlags } from "../commands/command.ts";
import { commands } from "../commands/index.ts";
import { variables } from "../src/config/env.ts";
import { catalog, type CatalogEntry, exits } from "../src/errors/catalog.ts";
import { type GeneratedFile, root, writeGenerated } from "./generated.ts";

const generated = (script: string): string => `<!-- Written by ${script}; edit the sources, then run \`bun run generate\`. -->`;
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "&lt;");

const exitMeanings: Readonly<Record<keyof typeof exits, string>> = {
  done: "Done; a clean drain after SIGTERM too.",
  failed: "What was asked for failed, or is not ready.",
  usage: "The command line or the configuration is wrong.",
  environment: "Something this machine must have is missing; `fettle doctor` names it.",
  bug: "A bug in fettle; please report it.",
};

function errorsPage(): string {
  const groups = Map.groupBy(Object.entries(catalog as Readonly<Record<string, CatalogEntry>>), ([code]) => code.split(".")[0] ?? "");
  return [
    "# Errors",
    "",
    generated("scripts/gen-docs.ts"),
    "",
    'Every error has a code. `--json` prints `{ "error": { code, message, hint, where?, details?, others? } }` on stdout with the same words.',
    "",
    "## Exit codes",
    "",
    "| exit | meaning |",
    "|---|---|",
    ...Object.entries(exits).map(([name, code]) => `| ${code} | ${exitMeanings[name as keyof typeof exits]} |`),
    "| 128+n | Ended by signal n, or the stop was cut short by it. |",
    ...[...groups].flatMap(([group, rows]) => [
      "",
      `## ${group}`,
      "",
      "| code | what happened | what to do | exit | worth a retry |",
      "|---|---|---|---|---|",
      ...rows.map(
        ([code, { title, hint, exitCode, retryable }]) => `| \`${code}\` | ${cell(title)} | ${cell(hint)} | ${exitCode} | ${retryable ? "yes" : ""} |`,
      ),
    ]),
    "",
  ].join("\n");
}

function environmentPage(): string {
  return [
    "# Environment variables",
    "",
    generated("scripts/gen-docs.ts"),
    "",
    "Values are layered: defaults < profile < file < environment < flags. An empty variable counts as not set; a `FETTLE_` variable that is not in",
    "this table is reported as a likely typo. Beside these, any variable can be used in a configuration as `${NAME}` or `${NAME:-default}`.",
    "",
    "| variable | sets | meaning |",
    "|---|---|---|",
    ...variables.filter((one) => !one.internal).map(({ name, path, summary }) => `| \`${name}\` | ${path ? `\`${path.join(".")}\`` : ""} | ${cell(summary)} |`),
    "",
  ].join("\n");
}

async function cliPage(): Promise<string> {
  const sections: string[] = [];
  for (const row of Object.values(commands)) if (!row.internal) sections.push(...commandSection((await row.load()).command));
  return [
    "# Commands",
    "",
    generated("scripts/gen-docs.ts"),
    "",
    "stdout is data, stderr is talk. Flags of every command:",
    "",
    ...flagTable(commonFlags),
    ...sections,
    "",
  ].join("\n");
}

function commandSection({ name, summary, positionals, flags, examples, exits: own }: Command): string[] {
  return [
    "",
    `## fettle ${name}`,
    "",
    `${summary}.`,
    "",
    "```",
    [`fettle ${name}`, positionals, flags.length > 0 ? "[flags]" : ""].filter(Boolean).join(" "),
    "```",
    ...(flags.length > 0 ? ["", ...flagTable(flags)] : []),
    ...(examples.length > 0 ? ["", "Examples:", "", "```", ...examples, "```"] : []),
    ...(own.length > 0 ? ["", `Exit codes beyond 0, 2 and 70:`, "", ...own.map((line) => `- ${line}`)] : []),
  ];
}

const flagTable = (flags: Command["flags"]): string[] => [
  "| flag | meaning |",
  "|---|---|",
  ...flags.map(({ usage, summary }) => `| \`${usage.replaceAll("|", "\\|")}\` | ${cell(summary)} |`),
];

const begin = "<!-- commands:begin -->";
const end = "<!-- commands:end -->";

function readme(): GeneratedFile[] {
  const path = join(root, "README.md");
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from === -1 || to < from) {
    process.stderr.write("README.md has no command table markers; its table is left alone.\n");
    return [];
  }
  const rows = Object.entries(commands).filter(([, row]) => !row.internal);
  const table = ["", "| command | what it does |", "|---|---|", ...rows.map(([name, { summary }]) => `| \`fettle ${name}\` | ${cell(summary)} |`), ""];
  return [{ path: "README.md", content: text.slice(0, from + begin.length) + table.join("\n") + text.slice(to) }];
}

writeGenerated(
  [
    { path: "docs/errors.md", content: errorsPage() },
    { path: "docs/environment.md", content: environmentPage() },
    { path: "docs/cli.md", content: await cliPage() },
    ...readme(),
  ],
  process.argv.includes("--check"),
);

import { exactDuration } from "../util/duration.ts";
import type { Plan, Service } from "./plan.ts";
import type { ProbeSpec } from "./probe-spec.ts";

/** The plan for a person: what starts, in which order, waiting for whom, ready when. Takes a masked plan. */
export function explainPlan(plan: Plan): string {
  const waves = new Map(plan.order.flatMap((names, index) => names.map((name): [string, number] => [name, index + 1])));
  const ordered = plan.services.toSorted((a, b) => (waves.get(a.name) ?? 0) - (waves.get(b.name) ?? 0));
  const header = ["wave", "service", "role", "waits for", "ready when", "restart"];
  const rows = ordered.map((service) => [
    String(waves.get(service.name) ?? ""),
    service.name,
    service.role,
    waitsFor(service),
    readyWhen(service),
    restarts(service),
  ]);
  const external = plan.engines.filter(({ service }) => service === undefined).map(({ name, kind, url }) => `  ${name} (${kind}) at ${url}`);
  return [
    `Profile ${plan.profile}; everything stops within ${exactDuration(plan.stopBudgetMs)}.`,
    "",
    ...columns([header, ...rows]),
    "",
    "Commands",
    ...ordered.flatMap(({ name, argv, env, cwd }) => [
      `  ${name}${cwd === undefined ? "" : ` (in ${cwd})`}`,
      `    ${[...Object.entries(env).map(([key, value]) => (value === null ? `-u ${key}` : `${key}=${quote(value)}`)), ...argv.map(quote)].join(" ")}`,
    ]),
    ...(external.length > 0 ? ["", "Engines that run elsewhere", ...external] : []),
    ...(plan.warnings.length > 0 ? ["", ...plan.warnings.map((warning) => `Warning: ${warning}`)] : []),
    "",
  ].join("\n");
}

function waitsFor({ dependsOn }: Service): string {
  return dependsOn.map(({ service, condition }) => `${service} ${condition}`).join(", ") || "-";
}

function readyWhen({ role, readiness }: Service): string {
  if (role === "task") return "it ended with 0";
  return readiness ? `${describeProbe(readiness)} every ${exactDuration(readiness.periodMs)}` : "it has started";
}

export function describeProbe(probe: ProbeSpec): string {
  switch (probe.type) {
    case "http":
      return `GET ${probe.url}`;
    case "tcp":
      return `${probe.host}:${probe.port} accepts`;
    case "exec":
      return `\`${probe.argv.join(" ")}\` ends with 0`;
    case "file":
      return `${probe.path} exists`;
    case "log-line":
      return `a line matches /${probe.pattern}/`;
  }
}

function restarts({ restart, essential }: Service): string {
  return [restart.policy, ...(essential ? ["essential"] : [])].join(", ");
}

/** A word as a shell would need it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

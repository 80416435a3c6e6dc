import { exactDuration } from "../util/duration.ts";
import type { Plan, Service } from "./plan.ts";
import { describeStep } from "./step.ts";
import type { ProbeSpec } from "./probe-spec.ts";

/** The plan for a person: what starts, in which order, waiting for whom, ready when. Takes a masked plan. */
export function explainPlan(plan: Plan): string {
  const waves = new Map(plan.order.flatMap((names, index) => names.map((name): [string, number] => [name, index + 1])));
  const ordered = plan.services.toSorted((a, b) => (waves.get(a.name) ?? 0) - (waves.get(b.name) ?? 0));
  const phased = plan.phases.length > 0;
  const header = [...(phased ? ["phase"] : []), "wave", "service", "role", "waits for", "ready when", "restart"];
  const rows = ordered.map((service) => [
    ...(phased ? [phaseOf(plan, service)] : []),
    String(waves.get(service.name) ?? ""),
    service.name,
    service.role,
    waitsFor(plan, service),
    readyWhen(service),
    restarts(service),
  ]);
  const external = plan.engines.filter(({ service }) => service === undefined).map(({ name, kind, url }) => `  ${name} (${kind}) at ${url}`);
  return [
    `Profile ${plan.profile}; everything stops within ${exactDuration(plan.stopBudgetMs)}.`,
    "",
    ...phasesOf(plan),
    ...columns([header, ...rows]),
    "",
    "Commands",
    ...ordered.flatMap(({ name, argv, env, cwd, steps }) => [
      `  ${name}${cwd === undefined ? "" : ` (in ${cwd})`}`,
      `    ${[...Object.entries(env).map(([key, value]) => (value === null ? `-u ${key}` : `${key}=${quote(value)}`)), ...argv.map(quote)].join(" ")}`,
      ...(steps ?? []).map((step) => `      ${describeStep(step)}`),
    ]),
    ...(external.length > 0 ? ["", "Engines that run elsewhere", ...external] : []),
    ...(plan.warnings.length > 0 ? ["", ...plan.warnings.map((warning) => `Warning: ${warning}`)] : []),
    "",
  ].join("\n");
}

function phasesOf({ phases }: Plan): string[] {
  if (phases.length === 0) return [];
  const rows = phases.map(({ number, name, title, targetMs, onFailure, after }) => [
    `${number} ${name}`,
    title,
    targetMs === undefined ? "-" : exactDuration(targetMs),
    onFailure,
    after.join(", ") || "-",
  ]);
  return [...columns([["phase", "title", "target", "on failure", "after"], ...rows]), ""];
}

function phaseOf({ phases }: Plan, { phase }: Service): string {
  const found = phases.find(({ name }) => name === phase);
  return found ? `${found.number} ${found.name}` : "-";
}

/** Its own dependencies, and the phases before its own instead of each of their members. */
function waitsFor({ phases, services }: Plan, { dependsOn, phase }: Service): string {
  const own = dependsOn.filter(({ startOnly }) => !startOnly).map(({ service, condition }) => `${service} ${condition}`);
  const implied = dependsOn.filter(({ startOnly }) => startOnly).map(({ service }) => services.find(({ name }) => name === service));
  const former = new Set(
    implied.map((one) => (phase === undefined || one?.phase === undefined ? one?.name : `phase ${phases.find(({ name }) => name === one.phase)?.number}`)),
  );
  return [...own, ...(phase === undefined && former.size > 1 ? ["everything else"] : former)].join(", ") || "-";
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
    case "fd":
      return `it writes a line to fd ${probe.fd}`;
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

import { printable } from "../util/printable.ts";
import { maskSecrets } from "../log/mask.ts";
import { subjects } from "./check.ts";
import type { Diagnosis } from "./run-checks.ts";

export interface Summary {
  readonly critical: number;
  readonly warning: number;
  readonly ok: number;
  readonly notChecked: number;
}

/** What `fettle doctor --json` prints. */
export interface Report {
  /** Nothing is critical. */
  readonly ok: boolean;
  readonly summary: Summary;
  readonly checks: readonly Diagnosis[];
}

const marks: Readonly<Record<Diagnosis["state"], string>> = { ok: "[✓]", warning: "[!]", critical: "[✗]", "not-checked": "[-]" };

/** Counts the rows and masks every secret in them. */
export function buildReport(rows: readonly Diagnosis[], secrets: readonly string[]): Report {
  const count = (state: Diagnosis["state"]) => rows.filter((row) => row.state === state).length;
  const summary = { critical: count("critical"), warning: count("warning"), ok: count("ok"), notChecked: count("not-checked") };
  return { ok: summary.critical === 0, summary, checks: rows.map((row) => maskRow(row, secrets)) };
}

function maskRow(row: Diagnosis, secrets: readonly string[]): Diagnosis {
  const mask = (text: string) => maskSecrets(text, secrets);
  const value = (one: unknown): unknown => (typeof one === "string" ? mask(one) : Array.isArray(one) ? one.map(value) : one);
  return {
    ...row,
    message: mask(row.message),
    ...(row.fix !== undefined && { fix: mask(row.fix) }),
    ...(row.facts && { facts: Object.fromEntries(Object.entries(row.facts).map(([name, one]) => [name, value(one)])) as NonNullable<Diagnosis["facts"]> }),
  };
}

/** The report for a person: by subject, the fix under each trouble, the count last. */
export function formatReport({ checks, summary }: Report): string {
  const lines: string[] = [];
  for (const subject of subjects) {
    const rows = checks.filter((row) => row.subject === subject);
    if (rows.length === 0) continue;
    lines.push(subject);
    for (const { state, title, message, fix } of rows) {
      lines.push(`  ${marks[state]} ${title}: ${printable(message)}`);
      if (fix !== undefined) lines.push(`        fix: ${printable(fix)}`);
    }
    lines.push("");
  }
  const { critical, warning, ok, notChecked } = summary;
  lines.push(`${critical} critical, ${warning} warning${warning === 1 ? "" : "s"}, ${ok} ok, ${notChecked} not checked`);
  return `${lines.join("\n")}\n`;
}

import { basename } from "node:path";
import type { Coverage } from "../src/merge/merge-request.ts";
import { printable } from "../src/util/printable.ts";

/** A row for each LoRA in columns: modules that found their weight by part, their types, how many found none and the first of these; below it the rest. */
export function describeCoverage(coverage: readonly Coverage[]): string[] {
  const rows = coverage.map(({ lora, matched, types = {}, unmatched, firstUnmatched }) => [
    basename(lora),
    counts(matched),
    counts(types),
    unmatched === 0 ? "none" : `${unmatched}: ${firstUnmatched.join(", ")}${unmatched > firstUnmatched.length ? ", …" : ""}`,
  ]);
  const head = ["LoRA", "matched", "types", "not matched"];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) => printable(cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).trimEnd();
  return [line(head), ...coverage.flatMap((one, index) => [line(rows[index] ?? []), ...rest(one).map((text) => `  ${printable(text)}`)])];
}

function counts(of: Readonly<Record<string, number>>): string {
  const parts = Object.entries(of).map(([name, count]) => `${name} ${count}`);
  return parts.length > 0 ? parts.join(", ") : "none";
}

function rest({ idle = 0, skipped, note }: Coverage): string[] {
  return [...(idle > 0 ? [`${idle} change nothing: their strength or alpha is 0`] : []), ...skipped.map((text) => `skipped: ${text}`), ...(note ? [note] : [])];
}

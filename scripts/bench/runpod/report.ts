/** Judges the samples and draws them: one line per figure with its columns, their ratio, the target, and whether it was met. */
import { type Quantiles, quantiles, short } from "../stats.ts";
import { type Figure, type FigureKey, gainFigures, sideFigures } from "./figures.ts";
import type { Column, Samples } from "./samples.ts";

export interface Line {
  readonly key: FigureKey;
  readonly name: string;
  readonly unit: string;
  readonly columns: Readonly<Partial<Record<Column, Quantiles>>>;
  /** The first column's median over the last one's. */
  readonly ratio: number;
  readonly target: string;
  /** null: there is no target, or nothing to compare with. */
  readonly met: boolean | null;
}

interface Table {
  readonly figures: Readonly<Record<string, Figure>>;
  readonly columns: readonly { readonly key: Column; readonly head: string }[];
}

const tables: Readonly<Record<"sides" | "gains", Table>> = {
  sides: {
    figures: sideFigures,
    columns: [
      { key: "fettle", head: "fettle" },
      { key: "handler", head: "its handler.py on fettle" },
      { key: "sdk", head: "runpod SDK" },
    ],
  },
  gains: {
    figures: gainFigures,
    columns: [
      { key: "with", head: "with" },
      { key: "without", head: "without" },
    ],
  },
};

/** Figures that nothing was measured for are left out. */
export function buildLines(samples: Samples, which: keyof typeof tables): Line[] {
  const { figures, columns } = tables[which];
  return Object.entries(figures).flatMap(([key, { name, unit, target }]): Line[] => {
    const measured = columns.map(({ key: column }) => [column, quantiles(samples.of(key as FigureKey, column))] as const);
    if (measured.every(([, { count }]) => count === 0)) return [];
    const seen = new Map<Column, Quantiles>(measured);
    const of = (column: Column) => seen.get(column) ?? quantiles([]);
    const ratio = of(columns[0]?.key ?? "fettle").median / of(columns.at(-1)?.key ?? "sdk").median;
    const met = target?.met(of) ?? null;
    return [{ key: key as FigureKey, name, unit, columns: Object.fromEntries(measured), ratio, target: target?.text ?? "", met }];
  });
}

/** A Markdown table that is also readable as it stands. */
export function drawTable(lines: readonly Line[], which: keyof typeof tables): string {
  const { columns } = tables[which];
  const head = ["median (p10–p90; n)", ...columns.map((column) => column.head), "ratio", "target", ""];
  const body = lines.map(({ name, unit, columns: measured, ratio, target, met }) => [
    `${name} [${unit}]`,
    ...columns.map(({ key }) => drawQuantiles(measured[key])),
    drawRatio(ratio),
    target,
    met === null ? "" : met ? "✓" : "✗",
  ]);
  const table = [head, ...body];
  const widths = head.map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const drawn = table.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`);
  return [drawn[0], `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...drawn.slice(1)].join("\n");
}

/** What stands below the tables. */
export function drawRemarks(samples: Samples, notes: readonly string[]): string {
  const memory = samples.processes.map(({ column, command, pssMib }) => `  ${column}: ${short(pssMib)} MiB  ${command}`);
  return [
    ...(memory.length > 0 ? ["Idle PSS by process, first round:", ...memory] : []),
    ...notes.map((note) => `Note: ${note}.`),
    "Run it on a quiet machine: PSS splits pages with every other Python or fettle that runs, and each durable write waits for the disk.",
  ].join("\n");
}

/** Below zero: fettle's next take goes out before the result has arrived. */
function drawRatio(ratio: number): string {
  if (!Number.isFinite(ratio)) return "–";
  if (ratio <= 0) return "≤ 0";
  return ratio < 1 ? `1/${short(1 / ratio)}` : short(ratio);
}

function drawQuantiles(measured: Quantiles | undefined): string {
  if (!measured || measured.count === 0) return "–";
  const { median, p10, p90, count } = measured;
  return count === 1 ? short(median) : `${short(median)} (${short(p10)}–${short(p90)}; ${count})`;
}

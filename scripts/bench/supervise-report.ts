/** Judges the supervise bench: a row for each figure, a column for each side, the target and whether fettle meets it. */
import { median, short } from "./stats.ts";
import type { Samples } from "./supervise.ts";

export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly figures: Readonly<Record<string, Figure>>;
  readonly target: string;
  /** null where the figure is shown without a target, or what it is measured against is missing. */
  readonly met: boolean | null;
}

interface Target {
  readonly text: string;
  met(of: (side: string) => Figure | undefined): boolean | null;
}

/** The time that the chain's own delays take. */
export const chain50FloorMs = 400;

const own = (text: string, met: (figure: Figure) => boolean, side = "fettle"): Target => ({
  text,
  met: (of) => {
    const figure = of(side);
    return figure === undefined || figure.count === 0 ? null : met(figure);
  },
});
const beside = (text: string, rival: string, met: (fettle: number, rival: number) => boolean): Target => ({
  text,
  met: (of) => {
    const [mine, other] = [of("fettle"), of(rival)];
    return mine && other && other.count > 0 ? met(mine.median, other.median) : null;
  },
});

const rows: readonly { readonly key: keyof Samples; readonly name: string; readonly unit: string; readonly targets: readonly Target[] }[] = [
  {
    key: "chain50Ms",
    name: `chain of 8, ready after 50 ms (floor ${chain50FloorMs})`,
    unit: "ms",
    targets: [beside("≤ 1.25 × s6", "s6", (mine, other) => mine <= 1.25 * other)],
  },
  { key: "fan50Ms", name: "fan 1 → 7, ready after 50 ms", unit: "ms", targets: [] },
  { key: "chain0Ms", name: "chain of 8, ready at once", unit: "ms", targets: [] },
  { key: "fan0Ms", name: "fan 1 → 7, ready at once", unit: "ms", targets: [] },
  { key: "firstMs", name: "launch → first child", unit: "ms", targets: [] },
  { key: "early", name: "started before its dependency served", unit: "of 7", targets: [own("0", ({ max }) => max === 0)] },
  {
    key: "crashMs",
    name: "first crash → serving again",
    unit: "ms",
    targets: [own("≤ 50", ({ median: ms }) => ms <= 50), beside("≤ s6 + 20", "s6", (mine, other) => mine <= other + 20)],
  },
  { key: "stopMs", name: "SIGTERM → all gone", unit: "ms", targets: [own("≤ 50", ({ median: ms }) => ms <= 50)] },
  { key: "violations", name: "stopped before its dependants", unit: "of 7", targets: [own("0", ({ max }) => max === 0)] },
  { key: "leftBehind", name: "children left 1.5 s after kill -9", unit: "of 8", targets: [own("0", ({ max }) => max === 0)] },
  { key: "zombies", name: "zombies of 50 orphans, as PID 1", unit: "", targets: [own("0", ({ max }) => max === 0)] },
  { key: "pssMib", name: "PSS, 8 idle services", unit: "MiB", targets: [own("≤ 40", ({ median: mib }) => mib <= 40)] },
  { key: "processes", name: "its own processes", unit: "", targets: [] },
  { key: "idleCpuPercent", name: "idle CPU", unit: "%", targets: [own("≤ 0.1", ({ median: percent }) => percent <= 0.1)] },
  { key: "linesMbPerS", name: "log, one write per 100-byte line", unit: "MB/s", targets: [own("≥ 27", ({ median: rate }) => rate >= 27)] },
  { key: "blocksMbPerS", name: "log, 64 KB writes", unit: "MB/s", targets: [] },
  {
    key: "lostLines",
    name: "log lines lost",
    unit: "",
    targets: [own("0", ({ max }) => max === 0), own("direct 0", ({ max }) => max === 0, "fettle, direct")],
  },
];

export function buildRows(samples: ReadonlyMap<string, Samples>): Row[] {
  const measured = rows.filter(({ key }) => [...samples.values()].some((all) => all[key].length > 0));
  return measured.map(({ key, name, unit, targets }) => {
    const figures = Object.fromEntries([...samples].map(([side, all]) => [side, figureOf(all[key])]));
    const verdicts = targets.map((target) => target.met((side) => figures[side]));
    const met = verdicts.every((one) => one === null) ? null : !verdicts.includes(false);
    return { name, unit, figures, target: targets.map(({ text }) => text).join(", "), met };
  });
}

function figureOf(values: readonly number[]): Figure {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), count: values.length };
}

/** A Markdown table that is also readable as it stands. */
export function drawReport(all: readonly Row[]): string {
  const sides = Object.keys(all[0]?.figures ?? {});
  const cells = all.map((row) => [
    row.unit ? `${row.name} [${row.unit}]` : row.name,
    ...sides.map((side) => drawFigure(row.figures[side])),
    row.target,
    row.met === null ? "" : row.met ? "✓" : "✗",
  ]);
  const table = [["median (min–max)", ...sides, "target", ""], ...cells];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const lines = table.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`);
  lines.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  return lines.join("\n");
}

function drawFigure(figure: Figure | undefined): string {
  if (!figure || figure.count === 0 || Number.isNaN(figure.median)) return "–";
  const text = (value: number) => (value === Number.POSITIVE_INFINITY ? "never" : short(value));
  return figure.min === figure.max ? text(figure.median) : `${text(figure.median)} (${text(figure.min)}–${text(figure.max)})`;
}

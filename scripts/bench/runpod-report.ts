/** Judges the RunPod bench: one row per figure with both sides, their ratio, the target, and whether it was met. */
import type { RunpodPlan, RunpodSamples, Samples } from "./runpod.ts";
import { type Quantiles, quantiles, short } from "./stats.ts";

export type Row = {
  name: string;
  unit: string;
  fettle: Quantiles;
  sdk: Quantiles;
  /** fettle's median over the SDK's. */
  ratio: number;
  target: string;
  /** null where the figure is shown without a target. */
  met: boolean | null;
};

type Target = { text: string; met: (fettle: number, sdk: number) => boolean };
const none: Target | undefined = undefined;
const atMost = (fraction: number): Target => ({ text: `≤ 1/${1 / fraction}`, met: (fettle, sdk) => fettle <= sdk * fraction });
const below: Target = { text: "below", met: (fettle, sdk) => fettle < sdk };
const underMs = (ms: number): Target => ({ text: `< ${ms} ms`, met: (fettle) => fettle < ms });

const figures: { key: keyof Samples; name: string; unit: string; target: Target | undefined }[] = [
  { key: "backlogMs", name: "handed out → result posted, backlog", unit: "ms", target: atMost(1 / 10) },
  { key: "idleMs", name: "handed out → result posted, idle poll", unit: "ms", target: atMost(1 / 10) },
  { key: "nextTakeMs", name: "result → next take", unit: "ms", target: atMost(1 / 100) },
  { key: "startToTakeMs", name: "process start → first take", unit: "ms", target: atMost(1 / 10) },
  { key: "idlePssMib", name: "PSS of the process tree, idle", unit: "MiB", target: below },
  { key: "heldPssMib", name: "PSS, four 15 MB results posted, unanswered", unit: "MiB", target: below },
  { key: "peakPssMib", name: "PSS, peak on the way there (every 20 ms)", unit: "MiB", target: below },
  { key: "largeMs", name: "handed out → 15 MB result posted, four at once", unit: "ms", target: none },
  { key: "throughputPerS", name: "throughput, concurrency 1", unit: "jobs/s", target: none },
  { key: "cpuMsPerJob", name: "CPU of the process tree per job", unit: "ms", target: none },
  { key: "sigtermMs", name: "SIGTERM → exit, poll held", unit: "ms", target: underMs(1000) },
];

export function buildRows(samples: RunpodSamples): Row[] {
  return figures.map(({ key, name, unit, target }) => {
    const fettle = quantiles(samples.fettle[key]);
    const sdk = quantiles(samples.sdk[key]);
    const met = target ? target.met(fettle.median, sdk.median) : null;
    return { name, unit, fettle, sdk, ratio: fettle.median / sdk.median, target: target?.text ?? "", met };
  });
}

/** A Markdown table that is also readable as it stands. */
export function drawReport(rows: readonly Row[], samples: RunpodSamples, plan: RunpodPlan): string {
  const cells = rows.map((row) => [
    `${row.name} [${row.unit}]`,
    drawQuantiles(row.fettle),
    drawQuantiles(row.sdk),
    drawRatio(row.ratio),
    row.target,
    row.met === null ? "" : row.met ? "✓" : "✗",
  ]);
  const table = [["median (p90, p99; n)", "fettle", "runpod SDK", "ratio", "target", ""], ...cells];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  const lines = table.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`);
  lines.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  const memory = (["fettle", "sdk"] as const).flatMap((side) => samples.pss[side].map(({ command, pssMib }) => `  ${side}: ${short(pssMib)} MiB  ${command}`));
  return [
    ...lines,
    "",
    `${plan.rounds} interleaved rounds; concurrency 1 but 4 for the 15 MB results; for SIGTERM the platform holds a poll ${plan.holdMs / 1000} s (the SDK itself cuts at 90 s).`,
    "Run it on a quiet machine: PSS splits pages with every other Python or fettle that runs, and each durable write waits for the disk.",
    "Idle PSS by process, first round:",
    ...memory,
    ...[...new Set(samples.notes)].map((note) => `Note: ${note}`),
  ].join("\n");
}

/** Below zero: fettle's next take goes out before the result has arrived. */
function drawRatio(ratio: number): string {
  if (ratio <= 0) return "≤ 0";
  return ratio < 1 ? `1/${short(1 / ratio)}` : short(ratio);
}

function drawQuantiles({ median, p90, p99, count }: Quantiles): string {
  return count === 0 ? "–" : `${short(median)} (${short(p90)}, ${short(p99)}; ${count})`;
}

/** Every figure of the table: its name, its unit, and what it must reach. */
import type { Column } from "./samples.ts";

/** Seen by a target: each column's median and maximum; NaN where nothing was measured. */
export type Seen = (column: Column) => { median: number; max: number };
export type Target = { text: string; met: (seen: Seen) => boolean };
export type Figure = { name: string; unit: string; target?: Target };

const atMostOfSdk = (divisor: number): Target => ({
  text: `≤ 1/${divisor} of SDK`,
  met: (seen) => seen("fettle").median <= seen("sdk").median / divisor,
});
const timesSdk = (factor: number): Target => ({ text: `≥ ${factor} × SDK`, met: (seen) => seen("fettle").median >= seen("sdk").median * factor });
const belowSdk: Target = { text: "below SDK", met: (seen) => seen("fettle").median < seen("sdk").median };
const atLeast = (value: number, unit: string): Target => ({ text: `≥ ${value} ${unit}`, met: (seen) => seen("fettle").median >= value });
const below = (value: number, unit: string): Target => ({ text: `< ${value} ${unit}`, met: (seen) => seen("fettle").median < value });
const neverAbove = (value: number, unit: string): Target => ({ text: `never > ${value} ${unit}`, met: (seen) => seen("fettle").max <= value });
const faster: Target = { text: "above without", met: (seen) => seen("with").median > seen("without").median };
const sooner: Target = { text: "below without", met: (seen) => seen("with").median < seen("without").median };

/** fettle beside the SDK, and the SDK's own handler file on fettle's `python` engine. */
export const sideFigures = {
  startToTakeMs: { name: "process start → first take", unit: "ms", target: atMostOfSdk(10) },
  idleMs: { name: "handed out → posted, idle poll", unit: "ms", target: atMostOfSdk(10) },
  backlogMs: { name: "handed out → posted, backlog", unit: "ms", target: atMostOfSdk(10) },
  nextTakeMs: { name: "posted → next take", unit: "ms", target: atMostOfSdk(100) },
  throughput1: { name: "throughput, concurrency 1", unit: "jobs/s", target: timesSdk(10) },
  throughput4: { name: "throughput, concurrency 4", unit: "jobs/s", target: timesSdk(10) },
  throughput10: { name: "throughput, concurrency 10", unit: "jobs/s", target: timesSdk(10) },
  busyPercent: { name: "engine busy, jobs of 1.2–2.2 s", unit: "%", target: atLeast(99, "%") },
  cpuMsPerJob: { name: "CPU of the process tree per job", unit: "ms" },
  idlePssMib: { name: "PSS of the process tree, 3 s after the first job", unit: "MiB", target: belowSdk },
  usedPssMib: { name: "… 1 s after the backlog", unit: "MiB" },
  largeMs: { name: "four 15 MB results: handed out → posted", unit: "ms" },
  heldPssMib: { name: "… PSS, all posted, none answered", unit: "MiB", target: belowSdk },
  peakPssMib: { name: "… PSS, peak (every 20 ms)", unit: "MiB", target: belowSdk },
  stallMs: { name: "… through the HTTP API: longest stall", unit: "ms", target: neverAbove(25, "ms") },
  stallWallMs: { name: "… the same by the wall clock", unit: "ms" },
  sigtermMs: { name: "SIGTERM → exit, poll held", unit: "ms", target: below(1000, "ms") },
} satisfies Record<string, Figure>;

/** The same worker without and with something. */
export const gainFigures = {
  batchPerS: { name: "batching: throughput of the bundled engine", unit: "jobs/s", target: faster },
  cacheMs: { name: "response cache: handed out → posted", unit: "ms", target: sooner },
} satisfies Record<string, Figure>;

export type FigureKey = keyof typeof sideFigures | keyof typeof gainFigures;

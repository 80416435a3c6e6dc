import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import type { PhaseStatus } from "../control/protocol.ts";
import { writeFileAtomic } from "../util/atomic-write.ts";

/** What the phases of one boot took, in ms. */
export interface BootRecord {
  /** Wall clock, ISO. */
  readonly at: string;
  readonly profile: string;
  /** Times of other hardware say nothing about this one: a volume travels. */
  readonly hardware: string;
  readonly phases: Readonly<Record<string, number>>;
}

const keptBoots = 50;
const countedBoots = 5;

/** In `stateDir`. */
export const historyName = "boots.json";

/** The boots recorded in that folder, oldest first; a file that is missing or damaged counts as empty. */
export function readBoots(stateDir: string): BootRecord[] {
  try {
    const { boots } = JSON.parse(readFileSync(join(stateDir, historyName), "utf8")) as { boots?: unknown };
    return Array.isArray(boots) ? boots.filter(isRecord) : [];
  } catch {
    return [];
  }
}

/** Adds a boot; the oldest of more than 50 are forgotten. Throws when the folder cannot be written. */
export function recordBoot(stateDir: string, boot: BootRecord): void {
  const boots = [...readBoots(stateDir), boot].slice(-keptBoots);
  writeFileAtomic(join(stateDir, historyName), `${JSON.stringify({ version: 1, boots })}\n`);
}

/** For each phase the median of the last five boots of this profile on this hardware. */
export function usualTimes(boots: readonly BootRecord[], { profile, hardware }: Pick<BootRecord, "profile" | "hardware">): Map<string, number> {
  const alike = boots.filter((boot) => boot.profile === profile && boot.hardware === hardware);
  const names = new Set(alike.flatMap(({ phases }) => Object.keys(phases)));
  return new Map([...names].map((name) => [name, median(alike.flatMap(({ phases }) => phases[name] ?? []).slice(-countedBoots))]));
}

export function bootRecord(profile: string, hardware: string, phases: readonly PhaseStatus[]): BootRecord {
  const times = phases.flatMap(({ name, tookMs }): [string, number][] => (tookMs === undefined ? [] : [[name, Math.round(tookMs)]]));
  return { at: new Date().toISOString(), profile, hardware, phases: Object.fromEntries(times) };
}

/** What makes a boot fast or slow here: "AMD EPYC 7763 ×64, NVIDIA GeForce RTX 4090 ×1". */
export function describeHardware(): string {
  const all = cpus();
  const gpus = Object.entries(Object.groupBy(readGpus(), (model) => model)).map(([model, same]) => `${model} ×${same?.length ?? 0}`);
  return [`${all[0]?.model.trim() ?? "unknown"} ×${all.length}`, ...gpus].join(", ");
}

/** From the driver's files; asking nvidia-smi takes a second. */
function readGpus(root = "/proc/driver/nvidia/gpus"): string[] {
  try {
    return readdirSync(root).map((gpu) => /^Model:\s*(.+)$/m.exec(readFileSync(join(root, gpu, "information"), "utf8"))?.[1]?.trim() ?? "GPU");
  } catch {
    return [];
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function isRecord(value: unknown): value is BootRecord {
  const { profile, hardware, phases } = (value ?? {}) as Partial<BootRecord>;
  if (typeof profile !== "string" || typeof hardware !== "string" || typeof phases !== "object" || phases === null) return false;
  return Object.values(phases).every((ms) => typeof ms === "number" && Number.isFinite(ms) && ms >= 0);
}

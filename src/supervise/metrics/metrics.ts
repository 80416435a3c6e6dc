// supervise/metrics/ owns what Prometheus is told at /metrics: observers that count events, and readers that look when somebody asks.
// Takes: events, snapshots, /proc, nvidia-smi. Gives: text. Must not know how services are run; every name is in docs/metrics.md.
import type { Snapshot } from "../../control/protocol.ts";
import type { StampedEvent } from "../../events/event.ts";
import type { PlannedEngine } from "../../plan/plan.ts";
import { createEngineMetrics } from "./engine-metrics.ts";
import { Exposition } from "./exposition.ts";
import { createGpuReader, type GpuUse, writeGpus } from "./gpu-metrics.ts";
import { createJobMetrics } from "./job-metrics.ts";
import { writeMachine } from "./machine-metrics.ts";
import { type FamilyMemory, readCgroup, readMemory, writeMemory } from "./memory.ts";
import { readOwnMetrics, writeOwnMetrics } from "./own-metrics.ts";
import { writeProcess } from "./process-metrics.ts";

export interface Metrics {
  apply(event: StampedEvent): void;
  /** The whole text; looks at memory and GPUs, at most every few seconds. */
  format(snapshot: Snapshot, engines: readonly PlannedEngine[]): Promise<string>;
}

export interface MetricsOptions {
  readonly readGpus?: () => Promise<readonly GpuUse[]>;
}

/** The kernel's look at a large process costs it a lock, so several scrapers share one. */
const memoryFreshMs = 5000;

export function createMetrics({ readGpus = createGpuReader() }: MetricsOptions = {}): Metrics {
  const jobs = createJobMetrics();
  const engines = createEngineMetrics();
  let memory: { readonly readMs: number; readonly families: Promise<readonly FamilyMemory[]> } | undefined;
  const readFamilies = (snapshot: Snapshot) => {
    if (!memory || performance.now() - memory.readMs > memoryFreshMs)
      memory = { readMs: performance.now(), families: readMemory(snapshot.services).catch(() => []) };
    return memory.families;
  };
  return {
    apply(event) {
      jobs.apply(event);
      engines.apply(event);
    },
    async format(snapshot, planned) {
      const [families, cgroup, gpus, own] = await Promise.all([readFamilies(snapshot), readCgroup(), readGpus(), readOwnMetrics(planned)]);
      const out = new Exposition();
      writeMachine(out, snapshot);
      engines.write(out, planned);
      jobs.write(out);
      writeOwnMetrics(out, own);
      writeMemory(out, families, cgroup);
      writeGpus(out, gpus);
      writeProcess(out);
      return String(out);
    },
  };
}

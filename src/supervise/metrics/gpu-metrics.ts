import { outputOf } from "../../machine/run-program.ts";
import type { Exposition, Sample } from "./exposition.ts";

export interface GpuUse {
  readonly gpu: string;
  readonly uuid: string;
  readonly name: string;
  /** Undefined where the driver says "[N/A]". */
  readonly values: Readonly<Record<(typeof fields)[number]["field"], number | undefined>>;
}

/** `factor` turns the driver's MiB and percent into bytes and ratios. */
const fields = [
  { field: "utilization.gpu", metric: "fettle_gpu_utilization_ratio", help: "Share of the last moment in which the GPU worked, 0 to 1.", factor: 0.01 },
  { field: "memory.used", metric: "fettle_gpu_memory_used_bytes", help: "Memory of the GPU in use, by whoever.", factor: 2 ** 20 },
  { field: "memory.total", metric: "fettle_gpu_memory_total_bytes", help: "Memory of the GPU.", factor: 2 ** 20 },
  { field: "temperature.gpu", metric: "fettle_gpu_temperature_celsius", help: "Temperature of the GPU.", factor: 1 },
  { field: "power.draw", metric: "fettle_gpu_power_watts", help: "What the GPU draws.", factor: 1 },
] as const;

const argv = ["nvidia-smi", `--query-gpu=index,uuid,name,${fields.map(({ field }) => field).join(",")}`, "--format=csv,noheader,nounits"] as const;

/** The driver's table, line by line; a line that is none (a driver's complaint) is passed over. */
export function parseGpus(text: string): readonly GpuUse[] {
  return text.split("\n").flatMap((line) => {
    const [gpu = "", uuid = "", name = "", ...rest] = line.split(",").map((cell) => cell.trim());
    if (!/^\d+$/.test(gpu) || rest.length !== fields.length) return [];
    const values = Object.fromEntries(
      fields.map(({ field }, index) => {
        const value = Number(rest[index] || Number.NaN);
        return [field, Number.isFinite(value) ? value : undefined];
      }),
    ) as GpuUse["values"];
    return [{ gpu, uuid, name, values }];
  });
}

const freshMs = 5000;
/** Where there is no nvidia-smi, or it fails, it is not started again with each scrape. */
const absentMs = 300_000;

/** Asks the driver at most every 5 s, however many scrape. Gives nothing where there is no driver. */
export function createGpuReader(ask: () => Promise<string | undefined> = () => outputOf(argv, { timeoutMs: 3000 })): () => Promise<readonly GpuUse[]> {
  let askedMs = Number.NEGATIVE_INFINITY;
  let last: Promise<readonly GpuUse[]> = Promise.resolve([]);
  let validMs = 0;
  return async () => {
    if (performance.now() - askedMs < validMs) return await last;
    askedMs = performance.now();
    validMs = freshMs;
    last = ask().then((text) => {
      if (text === undefined) validMs = absentMs;
      return text === undefined ? [] : parseGpus(text);
    });
    return await last;
  };
}

export function writeGpus(out: Exposition, gpus: readonly GpuUse[]): void {
  for (const { field, metric, help, factor } of fields) {
    const samples = gpus.flatMap(({ gpu, uuid, name, values }): Sample[] => {
      const value = values[field];
      return value === undefined ? [] : [[{ gpu, uuid, name }, value * factor]];
    });
    out.family(metric, "gauge", help, samples);
  }
}

import type { Config } from "../config/schema/index.ts";
import { FettleError } from "../errors/fettle-error.ts";

type Entry = { readonly replicas?: "gpu" | number | undefined; readonly env: Readonly<Record<string, string | null>> };

export interface Expanded {
  readonly config: Config;
  /** Which GPU each copy was given, counted from 0. */
  readonly gpuOf: ReadonlyMap<string, number>;
  readonly warnings: readonly string[];
}

/**
 * Puts the copies NAME-0, NAME-1 … in the place of each entry with `replicas`; whoever waits for NAME waits for all of them. Each copy has the
 * next port, its own log and PID file, and with `replicas: gpu` sees one GPU only. Pure.
 */
export function expandReplicas(config: Config, gpus: readonly string[]): Expanded {
  const copies = new Map<string, string[]>();
  const gpuOf = new Map<string, number>();
  const warnings: string[] = [];
  const expand = <T extends Entry>(entries: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(
      Object.entries(entries).flatMap(([name, entry]) => {
        if (entry.replicas === undefined) return [[name, entry]];
        const perGpu = entry.replicas === "gpu";
        if (perGpu && gpus.length === 0) warnings.push(`"${name}" shall have one copy for each GPU, but none is visible here; it has one copy.`);
        const count = entry.replicas === "gpu" ? Math.max(1, gpus.length) : entry.replicas;
        return Array.from({ length: count }, (_, index): [string, T] => {
          const copy = `${name}-${index}`;
          if (Object.hasOwn(config.engines, copy) || Object.hasOwn(config.services, copy))
            throw new FettleError("config.invalid", `Cannot use config: "${copy}" is a copy of "${name}" and is declared as well.`, { hint: "Rename it." });
          copies.set(name, [...(copies.get(name) ?? []), copy]);
          const gpu = perGpu ? gpus[index] : undefined;
          if (gpu !== undefined) gpuOf.set(copy, index);
          return [copy, copyOf(entry, index, gpu)];
        });
      }),
    );
  const engines = expand(config.engines);
  const services = Object.entries(expand(config.services)).map(([name, service]) => {
    const dependsOn = Object.entries(service.dependsOn).flatMap(([on, condition]) => (copies.get(on) ?? [on]).map((one) => [one, condition]));
    return [name, { ...service, dependsOn: Object.fromEntries(dependsOn) as typeof service.dependsOn }];
  });
  return { config: { ...config, engines, services: Object.fromEntries(services) as Config["services"] }, gpuOf, warnings };
}

function copyOf<T extends Entry>(entry: T, index: number, gpu: string | undefined): T {
  const { port, logFile, pidFile } = entry as { port?: number; logFile?: string; pidFile?: string };
  const numbered = (path: string | undefined) => (path === undefined || path.includes("{index}") ? path : `${path}.${index}`);
  const own = {
    ...entry,
    ...(port !== undefined && port !== 0 && { port: port + index }),
    ...(logFile !== undefined && { logFile: numbered(logFile) }),
    ...(pidFile !== undefined && { pidFile: numbered(pidFile) }),
    env: { ...(gpu !== undefined && { CUDA_VISIBLE_DEVICES: gpu }), ...entry.env },
  };
  return fill(own, { index: String(index), port: String((port ?? 0) + index), gpu: gpu ?? "" }, index) as T;
}

/** `{index}`, `{port}`, `{gpu}` and `{8188+index}` in every text; other braces stay. */
function fill(value: unknown, words: Readonly<Record<string, string>>, index: number): unknown {
  if (typeof value === "string")
    return value
      .replace(/\{(index|port|gpu)\}/g, (_, word: string) => words[word] ?? "")
      .replace(/\{(\d+)\+index\}/g, (_, base) => String(Number(base) + index));
  if (Array.isArray(value)) return value.map((item) => fill(item, words, index));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, words, index)]));
}

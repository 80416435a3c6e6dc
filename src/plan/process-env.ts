import type { Draft } from "./draft.ts";

interface ProcessConfig {
  readonly allocator: "tcmalloc" | "none";
  readonly preload: readonly string[];
}

/** Seed 000 preloads tcmalloc when the machine has it; without it the program runs all the same. */
const noTcmalloc =
  "tcmalloc was not found by `ldconfig -p`; engines run without it and may hold more memory. Install google-perftools, or set allocator: none.";

/** What every launched program's environment gets before its own `env`: the libraries to preload, and the threads that its share of CPUs allows. */
export function processEnv(draft: Draft, name: string, config: ProcessConfig): Record<string, string> {
  const { facts } = draft;
  const libraries = [...allocator(draft, config), ...config.preload.filter((path) => isUsable(draft, name, path))];
  return {
    ...(libraries.length > 0 && { LD_PRELOAD: [facts.preload, ...libraries].filter(Boolean).join(":") }),
    ...(facts.cpuLimit !== undefined && { OMP_NUM_THREADS: String(facts.cpuLimit) }),
  };
}

function allocator({ facts, warnings }: Draft, config: ProcessConfig): string[] {
  if (config.allocator !== "tcmalloc") return [];
  if (facts.tcmalloc !== undefined) return [facts.tcmalloc];
  if (!warnings.includes(noTcmalloc)) warnings.push(noTcmalloc);
  return [];
}

function isUsable({ facts, warnings }: Draft, name: string, path: string): boolean {
  const why = facts.unusable?.get(path);
  if (why !== undefined) warnings.push(`"${name}" runs without ${path}: ${why}.`);
  return why === undefined;
}

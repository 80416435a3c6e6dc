// machine/ owns what is true of this machine: libraries, devices, limits, free ports, files. Takes: the questions that a
// config raises (`FactNeeds`). Gives: `MachineFacts`, a plain value for the pure plan. Asks only what is needed, all at once,
// so that `start` reaches its first spawn in milliseconds. Must not know why anything is asked.
import { existsSync } from "node:fs";
import { readCgroupLimits } from "./cgroup.ts";
import { findFreePorts } from "./free-ports.ts";
import { findGpus } from "./gpus.ts";
import { whyNotPreload } from "./library.ts";
import { findTcmalloc } from "./tcmalloc.ts";

export interface FactNeeds {
  /** Whether anything wants tcmalloc preloaded; asking costs one short `ldconfig -p`. */
  readonly tcmalloc: boolean;
  /** Whether GPUs must be counted. */
  readonly gpus?: boolean;
  /** Libraries that shall be preloaded. */
  readonly libraries?: readonly string[];
  /** Files and folders whose existence matters. */
  readonly paths: readonly string[];
  /** How many ports the system shall choose. */
  readonly freePorts: number;
}

export interface MachineFacts {
  /** Full path of tcmalloc when `ldconfig -p` lists one for this architecture. */
  readonly tcmalloc?: string;
  /** The part of `FactNeeds.paths` that exists. */
  readonly existing: ReadonlySet<string>;
  /** Free on 127.0.0.1 a moment ago, each another. */
  readonly freePorts: readonly number[];
  /** An NVIDIA device file is visible; says nothing of its driver. */
  readonly hasCuda: boolean;
  /** As CUDA_VISIBLE_DEVICES names them; asked only when a config has `replicas: gpu`. */
  readonly gpus?: readonly string[];
  /** Libraries that cannot be preloaded, each with the reason. */
  readonly unusable?: ReadonlyMap<string, string>;
  /** CPUs that the cgroup allows, when fewer than the machine has and OMP_NUM_THREADS does not say otherwise already. */
  readonly cpuLimit?: number;
  /** What fettle itself was started with as LD_PRELOAD. */
  readonly preload?: string;
}

export interface ReadFactsOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

/** Asks the machine everything in `needs`, at once. Nothing here fails: what cannot be learnt is absent. */
export async function readFacts(needs: FactNeeds, { env, signal }: ReadFactsOptions): Promise<MachineFacts> {
  const [tcmalloc, freePorts, gpus] = await Promise.all([
    needs.tcmalloc ? findTcmalloc({ ...(signal && { signal }) }) : undefined,
    findFreePorts(needs.freePorts),
    needs.gpus ? findGpus({ env }) : undefined,
  ]);
  const { cpus } = readCgroupLimits();
  const preload = env["LD_PRELOAD"];
  return {
    ...(tcmalloc !== undefined && { tcmalloc }),
    existing: new Set(needs.paths.filter((path) => existsSync(path))),
    freePorts,
    hasCuda: hasNvidiaDevice(),
    ...(gpus && { gpus }),
    ...(needs.libraries && { unusable: new Map(needs.libraries.flatMap((path) => [[path, whyNotPreload(path)] as const]).filter(isUnusable)) }),
    ...(cpus !== undefined && !env["OMP_NUM_THREADS"] && { cpuLimit: cpus }),
    ...(preload && { preload }),
  };
}

const isUnusable = (pair: readonly [string, string | undefined]): pair is readonly [string, string] => pair[1] !== undefined;

/** `/dev/dxg` is the one of WSL. */
function hasNvidiaDevice(): boolean {
  return ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].some((path) => existsSync(path));
}

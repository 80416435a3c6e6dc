import { readdirSync } from "node:fs";
import { outputOf } from "./run-program.ts";

/**
 * The GPUs as CUDA_VISIBLE_DEVICES names them: what that variable already allows, else one number for each device file, else what
 * `nvidia-smi -L` lists (WSL has no device files).
 */
export async function findGpus({ env, devDir = "/dev" }: { env: Readonly<Record<string, string | undefined>>; devDir?: string }): Promise<string[]> {
  const allowed = env["CUDA_VISIBLE_DEVICES"];
  if (allowed !== undefined) return visible(allowed);
  const files = list(devDir).filter((name) => /^nvidia\d+$/.test(name)).length;
  const count = files > 0 ? files : ((await outputOf(["nvidia-smi", "-L"]))?.match(/^GPU \d+:/gm)?.length ?? 0);
  return Array.from({ length: count }, (_, index) => String(index));
}

/** CUDA stops reading at the first name that is no device, such as -1. */
function visible(allowed: string): string[] {
  const names = allowed.split(",").map((name) => name.trim());
  const end = names.findIndex((name) => !/^(\d+|GPU-.+|MIG-.+)$/.test(name));
  return end === -1 ? names : names.slice(0, end);
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

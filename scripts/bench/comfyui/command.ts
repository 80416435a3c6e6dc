import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTarget } from "../../../test/live/comfyui/target.ts";
import { short } from "../stats.ts";
import { benchComfyui } from "./bench.ts";

export interface ComfyCommandOptions {
  readonly fettle: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly rounds: number;
  readonly perRound: number;
  readonly json: boolean;
  readonly say: (line: string) => void;
}

/** fettle may cost a prompt so much of what a bare client costs it. */
const target = 1.2;

/** Whether there is a ComfyUI to measure on; says so when there is none. */
export function hasComfyui(env: ComfyCommandOptions["env"], say: (line: string) => void): boolean {
  if (env["COMFYUI_DIR"] || env["COMFYUI_URL"]) return true;
  say("SKIPPED: set COMFYUI_DIR (and COMFYUI_PYTHON) or COMFYUI_URL to measure on a real ComfyUI.");
  return false;
}

export async function comfyuiCommand({ fettle, env, rounds, perRound, json, say }: ComfyCommandOptions): Promise<number> {
  const python = env["FETTLE_BENCH_PYTHON"] ?? env["COMFYUI_PYTHON"] ?? "python3";
  const data = mkdtempSync(join(tmpdir(), "fettle-bench-comfyui-"));
  const { version, sides } = await benchComfyui({ target: readTarget({ COMFYUI_DATA: data, ...env }), fettle, python, rounds, perRound }).finally(() =>
    rmSync(data, { recursive: true, force: true }),
  );
  const isMet = sides.every(({ ratio }) => ratio <= target);
  if (json) {
    console.log(JSON.stringify({ version, sides, target, isMet }, undefined, 2));
    return isMet ? 0 : 1;
  }
  say(`No-op prompts on ComfyUI ${version}, ${rounds} interleaved rounds of ${perRound}; ms per prompt`);
  console.log(["side", "median", "p10", "p90", "p99", "ratio"].map(cell).join(""));
  for (const { name, ms, ratio } of sides) console.log([name, ...[ms.median, ms.p10, ms.p90, ms.p99, ratio].map(short)].map(cell).join(""));
  console.log(`${isMet ? "met" : "MISSED"}: a ratio of at most ${target}`);
  return isMet ? 0 : 1;
}

function cell(text: string, column: number): string {
  return column === 0 ? text.padEnd(24) : text.padStart(9);
}

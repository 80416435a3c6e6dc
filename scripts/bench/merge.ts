/**
 * `bun scripts/bench/index.ts merge`: a full-size SDXL (6.9 GB, made by merge_case.py) and two LoRAs of rank 32, merged by fettle's helper with its
 * own kernel and with numpy's conversions, to a file and to a diffusers directory, beside `cp`, diffusers' own fuse and save, and sd-mecha; in turns, in one run.
 * `--tiny` does the same with the bundled tiny shapes, checks memory and start-up alone, and takes some seconds.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { median, short } from "./stats.ts";

export interface MergeBenchOptions {
  /** A Python with numpy; with torch and diffusers too for the sides that need them. */
  readonly python: string;
  readonly tiny: boolean;
  readonly rounds: number;
  /** diffusers: 20 GiB of memory at full size; sd-mecha: full size only, as it knows a model by its shapes. */
  readonly rivals: readonly string[];
  readonly json: boolean;
  readonly say: (line: string) => void;
}

interface Sample {
  readonly wallS: number;
  readonly cpuS: number;
  readonly peakMiB: number;
  readonly code: number;
  readonly last: string;
}

interface Side {
  readonly name: string;
  readonly argv: readonly string[];
  /** Take the base out of the page cache first. */
  readonly cold?: boolean;
  readonly pythonPath?: string;
  /** Takes minutes, where a tenth more or less changes nothing: in the first round only. */
  readonly once?: boolean;
}

const here = import.meta.dirname;
const helper = resolve(here, "../../src/merge/helper/merge.py");
const neededBytes = 25e9;
const diffusers = "diffusers fuse and save";
const mecha = "sd-mecha";
/** Several in a round: it is what everything is compared with, and it varies most. */
const copies = ["cp", "cp, again", "cp, once more"] as const;

export function benchMerge(options: MergeBenchOptions): number {
  const { python, tiny, rounds, json, say } = options;
  const folder = mkdtempSync(join(tmpdir(), "fettle-bench-merge-"));
  try {
    const disk = statfsSync(folder);
    if (!tiny && disk.bavail * disk.bsize < neededBytes) return (say(`The full size needs ${neededBytes / 1e9} GB in ${tmpdir()}; there is --tiny.`), 2);
    say(`Making the model … (load ${loadavg()[0]?.toFixed(1)})`);
    say(execFileSync(python, [join(here, "merge_case.py"), folder, ...(tiny ? ["--tiny"] : [])], { encoding: "utf8" }).trim());
    const samples = new Map<string, Sample[]>();
    const sides = sidesOf(folder, options);
    let failed = 0;
    for (let round = 0; round < rounds; round++) {
      for (const side of sides.filter(({ once }) => !once || round === 0)) {
        const sample = measure(side, folder, options);
        for (const out of ["out", "out.safetensors"]) rmSync(join(folder, out), { recursive: true, force: true });
        if (sample.code !== 0) {
          failed++;
          say(`${side.name} ended with ${sample.code}: ${sample.last}`);
        } else samples.set(side.name, [...(samples.get(side.name) ?? []), sample]);
        say(`  ${side.name}: ${short(sample.wallS)} s, ${short(sample.peakMiB)} MiB`);
      }
    }
    return report(samples, { tiny, json, say }) || Math.min(failed, 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function sidesOf(folder: string, { python, rivals: wanted, tiny }: MergeBenchOptions): Side[] {
  const base = join(folder, "base.safetensors");
  const out = join(folder, "out");
  const loras = ["one", "two"].map((name, index) => ({ path: join(folder, `${name}.safetensors`), unet: 0.8 - 0.2 * index, te: 0.8 - 0.2 * index }));
  const ours = (more: Readonly<Record<string, unknown>>) => [python, "-B", helper, JSON.stringify({ base, loras, out, threads: 2, sync: false, ...more })];
  const scaled = loras.map(({ path, unet }) => `${path}:${unet}`);
  const rivals: Side[] = [];
  if (tiny || wanted.includes("diffusers"))
    rivals.push({ name: diffusers, argv: [python, join(here, "merge_diffusers.py"), base, join(folder, "base"), out, ...scaled], once: !tiny });
  const pythonPath = !tiny && wanted.includes(mecha) ? bringMecha(python) : undefined;
  if (pythonPath !== undefined)
    rivals.push({ name: mecha, argv: [python, join(here, "merge_mecha.py"), base, `${out}.safetensors`, ...scaled], pythonPath, once: true });
  const cp = (name: string): Side => ({ name, argv: ["cp", base, out] });
  const one = loras.slice(0, 1);
  return [
    cp(copies[0]),
    { name: "2 LoRAs", argv: ours({}) },
    { name: "2 LoRAs, diffusers directory", argv: ours({ format: "diffusers", dtype: "fp16" }) },
    { name: "2 LoRAs, numpy's conversions", argv: ours({ kernel: "numpy" }) },
    cp(copies[1]),
    { name: "1 LoRA", argv: ours({ loras: one }) },
    { name: "1 LoRA, numpy's conversions", argv: ours({ kernel: "numpy", loras: one }) },
    cp(copies[2]),
    { name: "cp, not cached", argv: ["cp", base, out], cold: true },
    { name: "2 LoRAs, not cached", argv: ours({}), cold: true },
    { name: "start (dry run)", argv: ours({ dryRun: true }) },
    ...rivals,
  ];
}

/** A PYTHONPATH with sd-mecha, or undefined and a line on stderr. */
function bringMecha(python: string): string | undefined {
  const env = { ...process.env, FETTLE_PYTHON: python };
  const { stdout } = spawnSync(join(here, "rivals"), [mecha], { encoding: "utf8", env, stdio: ["ignore", "pipe", "inherit"] });
  return stdout.trim().split("=")[1];
}

function measure({ argv, cold, pythonPath }: Side, folder: string, { python, tiny }: MergeBenchOptions): Sample {
  const script = [join(here, "merge_measure.py"), ...(tiny ? [] : ["--warm"]), cold ? "--cold" : "--cached", join(folder, "base.safetensors"), "--", ...argv];
  const env = { ...process.env, PYTHONWARNINGS: "ignore", HF_HUB_DISABLE_PROGRESS_BARS: "1", ...(pythonPath !== undefined && { PYTHONPATH: pythonPath }) };
  const text = execFileSync(python, script, { encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1e8 });
  return JSON.parse(text) as Sample;
}

interface Bar {
  readonly what: string;
  readonly value: number;
  readonly atMost: number;
}

function report(samples: ReadonlyMap<string, readonly Sample[]>, { tiny, json, say }: Pick<MergeBenchOptions, "tiny" | "json" | "say">): number {
  const of = (name: string, key: "wallS" | "cpuS" | "peakMiB") => median((samples.get(name) ?? []).map((one) => one[key]));
  const cp = median(copies.flatMap((name) => samples.get(name) ?? []).map(({ wallS }) => wallS));
  const bars: Bar[] = [...samples.keys()]
    .filter((name) => /^\d LoRA/.test(name))
    .map((name) => ({ what: `${name}: peak MiB`, value: Math.max(...(samples.get(name) ?? []).map(({ peakMiB }) => peakMiB)), atMost: 256 }));
  if (tiny) bars.push({ what: "start, s", value: of("start (dry run)", "wallS"), atMost: 0.5 });
  else {
    bars.push(
      { what: "2 LoRAs ÷ cp", value: of("2 LoRAs", "wallS") / cp, atMost: 2.4 },
      { what: "1 LoRA ÷ cp", value: of("1 LoRA", "wallS") / cp, atMost: 1.7 },
      { what: "not cached ÷ cp", value: of("2 LoRAs, not cached", "wallS") / of("cp, not cached", "wallS"), atMost: 1.5 },
      { what: "directory ÷ file", value: of("2 LoRAs, diffusers directory", "wallS") / of("2 LoRAs", "wallS"), atMost: 1.3 },
    );
    const beside = (rival: string, atMost: number) => ({ what: `ours ÷ ${rival}`, value: of("2 LoRAs", "wallS") / of(rival, "wallS"), atMost });
    if (samples.has(diffusers)) bars.push(beside(diffusers, 0.25));
    if (samples.has(mecha)) bars.push(beside(mecha, 0.1));
  }
  const missed = bars.filter(({ value, atMost }) => !(value <= atMost));
  if (json) process.stdout.write(`${JSON.stringify({ samples: Object.fromEntries(samples), bars })}\n`);
  else {
    const rows = [...samples.keys()].map((name) => `| ${name} | ${short(of(name, "wallS"))} | ${short(of(name, "cpuS"))} | ${short(of(name, "peakMiB"))} |`);
    process.stdout.write(["| what | wall s | CPU s | peak MiB |", "|---|---|---|---|", ...rows, ""].join("\n"));
    for (const { what, value, atMost } of bars) process.stdout.write(`${value <= atMost ? "✔" : "✖"} ${what}: ${short(value)} (at most ${atMost})\n`);
  }
  if (missed.length > 0) say(`${missed.length} target${missed.length > 1 ? "s" : ""} missed.`);
  return missed.length > 0 ? 1 : 0;
}

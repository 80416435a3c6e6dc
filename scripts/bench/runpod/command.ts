/** `bun scripts/bench/index.ts runpod`: finds the programs, runs the rows, prints the tables. Exit code 1 when a target is missed. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { benchRunpod } from "./bench.ts";
import { fullPlan, planNotes, quickPlan, slowRows } from "./plan.ts";
import { buildLines, drawRemarks, drawTable } from "./report.ts";
import { rows } from "./rows/index.ts";

export interface RunpodFlags {
  readonly fettle: string;
  readonly python: string;
  readonly enginePython: string;
  readonly quick: boolean;
  /** Empty: all. */
  readonly rows: readonly string[];
  readonly rounds: number | undefined;
  /** Keeps the workers' logs and says where. */
  readonly keep: boolean;
  readonly json: boolean;
  say(line: string): void;
}

export const rowsUsage = Object.entries(rows)
  .map(([name, { about }]) => `    ${name.padEnd(12)}  ${about}`)
  .join("\n");

export async function runpodCommand({ fettle, python, enginePython, quick, keep, json, say, ...flags }: RunpodFlags): Promise<number> {
  const sdk = ask(python, "import importlib.metadata as m, requests; print(m.version('runpod'))");
  if (sdk === undefined) return (say(`${python} cannot import runpod and requests; name a Python that can with --python.`), 2);
  const unknown = flags.rows.filter((name) => !Object.hasOwn(rows, name));
  if (unknown.length > 0) return (say(`There is no row "${unknown.join('", "')}"; there are: ${Object.keys(rows).join(", ")}.`), 2);
  const usual = quick ? quickPlan : fullPlan;
  const plan = { ...usual, rounds: flags.rounds ?? usual.rounds };
  const wanted = flags.rows.length > 0 ? flags.rows : Object.keys(rows).filter((name) => !quick || !slowRows.includes(name));
  const hasTorch = ask(enginePython, "import importlib.util as u; print(u.find_spec('torch') and u.find_spec('diffusers') and 1)") === "1";

  const dir = mkdtempSync(join(tmpdir(), "fettle-bench-"));
  const machine = { cpu: cpus()[0]?.model ?? "", cores: availableParallelism(), loadBefore: load(), loadAfter: 0 };
  const startedAtMs = performance.now();
  const samples = await benchRunpod({ fettle, python, enginePython: hasTorch ? enginePython : undefined, dir }, plan, wanted, say);
  machine.loadAfter = load();
  const [sides, gains] = [buildLines(samples, "sides"), buildLines(samples, "gains")];
  const notes = [...planNotes(plan, wanted), ...samples.notes];
  const tookSeconds = Math.round((performance.now() - startedAtMs) / 1000);
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ bench: "runpod", machine, sdk, plan, rows: [...sides, ...gains], processes: samples.processes, notes, failures: samples.failures, tookSeconds })}\n`,
    );
  } else {
    const drawn = [sides.length > 0 && drawTable(sides, "sides"), gains.length > 0 && drawTable(gains, "gains"), drawRemarks(samples, notes)];
    process.stdout.write(`${drawn.filter(Boolean).join("\n\n")}\n`);
    const { cores, loadBefore, loadAfter } = machine;
    say(
      `runpod ${sdk}; ${plan.rounds} interleaved rounds in ${tookSeconds} s on ${cores} cores, load ${loadBefore.toFixed(1)} before and ${loadAfter.toFixed(1)} after.`,
    );
  }
  for (const failure of samples.failures) say(`FAILED ${failure}`);
  if (keep || samples.failures.length > 0) say(`Logs: ${dir}`);
  else rmSync(dir, { recursive: true, force: true });
  if (samples.failures.length > 0) return 1;
  return [...sides, ...gains].some(({ met }) => met === false) ? 1 : 0;
}

function load(): number {
  return loadavg()[0] ?? 0;
}

/** What a Python prints; undefined when it cannot. */
function ask(python: string, program: string): string | undefined {
  try {
    return execFileSync(python, ["-c", program], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined;
  }
}

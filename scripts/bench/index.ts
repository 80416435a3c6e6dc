/**
 * Measures fettle beside what it replaces, in one run on this machine: `bun scripts/bench/index.ts runpod --python PATH`
 * (installs nothing: `--python` names a Python that has `runpod` and `requests`) and `bun scripts/bench/index.ts supervise`
 * (brings s6, supervisord and PM2 with scripts/bench/rivals). Exit code 1 when a target is missed.
 */
import { execFileSync } from "node:child_process";
import { accessSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { benchRunpod } from "./runpod.ts";
import { buildRows, drawReport } from "./runpod-report.ts";
import { superviseCommand } from "./supervise-command.ts";

const usage = `bun scripts/bench/index.ts [runpod | supervise] [options]

runpod: beside the runpod Python SDK, on a local platform
  --python PATH   a Python with runpod and requests (else $FETTLE_BENCH_PYTHON, else python3)
  --quick         a fifth of the jobs, about a minute and a half
  --jobs N        backlog jobs in all (200)      --idle-jobs N   jobs into an idle poll (40)
  --rounds N      interleaved rounds (2)         --waves N       waves of four 15 MB results (4)
  --hold SECONDS  held poll for SIGTERM, at most 20 (20)
  --keep          keep the workers' logs and print where

supervise: beside bash, s6, supervisord and PM2, with eight small services
  --rounds N      interleaved rounds (5), about a minute each
  --rivals LIST   bash,s6,supervisord,pm2; an empty list measures fettle alone
  --idle SECONDS  only the idle rows (CPU, memory), counted over so long

both
  --fettle PATH   the binary, or a .ts file to run with this runtime (default dist/fettle)
  --json          print one JSON value`;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: process.env["FETTLE_BENCH_PYTHON"] ?? "python3" },
    fettle: { type: "string", default: resolve(import.meta.dirname, "../../dist/fettle") },
    quick: { type: "boolean", default: false },
    jobs: { type: "string" },
    "idle-jobs": { type: "string" },
    rounds: { type: "string" },
    rivals: { type: "string", default: "bash,s6,supervisord,pm2" },
    idle: { type: "string" },
    waves: { type: "string" },
    hold: { type: "string", default: "20" },
    keep: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function main(): Promise<number> | number {
  if (flags.help) return (say(usage), 0);
  const [bench = "runpod"] = positionals;
  if (bench === "runpod") return runpod();
  if (bench === "supervise") return supervise();
  say(`There is no bench "${bench}"; there are: runpod, supervise.`);
  return 2;
}

function supervise(): Promise<number> | number {
  if (!isThere(flags.fettle)) return (say(`There is no ${flags.fettle}; build it with scripts/build, or name one with --fettle.`), 2);
  const { fettle, python, json } = flags;
  const idle = flags.idle === undefined ? {} : { onlyIdleMs: Number(flags.idle) * 1000 };
  return superviseCommand({ fettle, python, rounds: Number(flags.rounds ?? 5), rivals: flags.rivals.split(",").filter(Boolean), json, say, ...idle });
}

async function runpod(): Promise<number> {
  const sdk = sdkVersion(flags.python);
  if (!sdk) return (say(`${flags.python} cannot import runpod and requests; name a Python that can with --python.`), 2);
  if (!isThere(flags.fettle)) return (say(`There is no ${flags.fettle}; build it with scripts/build, or name one with --fettle.`), 2);
  const [jobs, idleJobs, rounds, waves] = flags.quick ? [40, 8, 2, 2] : [200, 40, 2, 4];
  const plan = {
    jobs: Number(flags.jobs ?? jobs),
    idleJobs: Number(flags["idle-jobs"] ?? idleJobs),
    rounds: Number(flags.rounds ?? rounds),
    waves: Number(flags.waves ?? waves),
    holdMs: Math.min(20, Number(flags.hold)) * 1000,
  };
  const dir = mkdtempSync(join(tmpdir(), "fettle-bench-"));
  const machine = { cpu: cpus()[0]?.model ?? "", cores: availableParallelism(), loadBefore: loadavg()[0] ?? 0 };
  const samples = await benchRunpod({ fettle: resolve(flags.fettle), python: flags.python, dir }, plan, say);
  const rows = buildRows(samples);
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ bench: "runpod", machine, sdk, plan, rows, pss: samples.pss, notes: samples.notes })}\n`);
  } else {
    process.stdout.write(`${drawReport(rows, samples, plan)}\nrunpod ${sdk} on ${machine.cores} cores, load ${machine.loadBefore.toFixed(1)} before.\n`);
  }
  if (flags.keep) say(`Logs: ${dir}`);
  else rmSync(dir, { recursive: true, force: true });
  return rows.some((row) => row.met === false) ? 1 : 0;
}

function sdkVersion(python: string): string | undefined {
  const program = "import importlib.metadata as m, requests; print(m.version('runpod'))";
  try {
    return execFileSync(python, ["-c", program], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined;
  }
}

function isThere(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

process.exitCode = await main();

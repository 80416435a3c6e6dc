/** `bun scripts/bench/index.ts supervise`: brings the rivals and the service program, runs the rounds, prints the table. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { benchSupervise } from "./supervise.ts";
import { buildRows, drawReport } from "./supervise-report.ts";
import { bash, fettle, pm2, s6, type Side, supervisord } from "./supervise-sides.ts";

export interface SuperviseFlags {
  readonly fettle: string;
  readonly python: string;
  readonly rounds: number;
  /** Names of rivals; empty: fettle alone. */
  readonly rivals: readonly string[];
  readonly json: boolean;
  /** Only the idle rows, counted over so long. */
  readonly onlyIdleMs?: number;
  say(line: string): void;
}

const installable: Readonly<Record<string, (bin: string) => Side>> = { s6, supervisord, pm2 };

export async function superviseCommand({ fettle: program, python, rounds, rivals, json, onlyIdleMs, say }: SuperviseFlags): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-bench-"));
  try {
    const machine = { cpu: cpus()[0]?.model ?? "", cores: availableParallelism(), loadBefore: loadavg()[0] ?? 0 };
    const sides = [fettle(resolve(program)), ...bring(rivals)];
    const bench = { sides, logSides: [fettle(resolve(program), "fettle, direct", "direct")], service: buildService(dir, python, say), dir, say };
    const plan = { rounds, idleMs: onlyIdleMs ?? 30_000, logBytes: 40_000_000, ...(onlyIdleMs !== undefined && { only: "idle" as const }) };
    const samples = await benchSupervise(bench, plan);
    const rows = buildRows(samples);
    if (json) process.stdout.write(`${JSON.stringify({ bench: "supervise", machine: { ...machine, loadAfter: loadavg()[0] }, plan, rows })}\n`);
    else
      process.stdout.write(
        `${drawReport(rows)}\n${rounds} interleaved rounds on ${machine.cores} cores (${machine.cpu}), load ${machine.loadBefore.toFixed(1)} before.\n`,
      );
    return rows.some(({ met }) => met === false) ? 1 : 0;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function bring(rivals: readonly string[]): Side[] {
  const wanted = rivals.filter((name) => Object.hasOwn(installable, name));
  const { stdout } = spawnSync(join(import.meta.dirname, "rivals"), wanted, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const found = new Map(stdout.split("\n").map((line) => line.split("=") as [string, string]));
  return [
    ...(rivals.includes("bash") ? [bash] : []),
    ...wanted.flatMap((name) => {
      const bin = found.get(name);
      return bin === undefined ? [] : (installable[name]?.(bin) ?? []);
    }),
  ];
}

function buildService(dir: string, python: string, say: (line: string) => void): string[] {
  const source = join(import.meta.dirname, "fixtures/service");
  const binary = join(dir, "service");
  try {
    execFileSync("gcc", ["-O2", "-o", binary, `${source}.c`], { stdio: ["ignore", "ignore", "inherit"] });
    return [binary];
  } catch {
    say("There is no gcc: the services are Python's, which makes every launch slower.");
    return [python, `${source}.py`];
  }
}

/**
 * fettle beside bash, s6, supervisord and PM2 with the same eight services, in interleaved rounds on one machine.
 * Takes the sides and how much to run, gives samples; judgement and drawing are in supervise-report.ts.
 */
import { mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { processTree, treePssMib } from "./memory.ts";
import { endNow, logFiles, nowMs, pause, Session } from "./supervise-session.ts";
import type { BenchService, Side } from "./supervise-sides.ts";

export interface SupervisePlan {
  readonly rounds: number;
  /** At the end of the last round all sides stand idle so long at once, and their CPU is counted. */
  readonly idleMs: number;
  readonly logBytes: number;
  readonly only?: "idle";
}

export type Samples = Record<(typeof sampleNames)[number], number[]>;
export const sampleNames = [
  "chain50Ms",
  "fan50Ms",
  "chain0Ms",
  "fan0Ms",
  "firstMs",
  "stopMs",
  "violations",
  "early",
  "crashMs",
  "pssMib",
  "processes",
  "leftBehind",
  "idleCpuPercent",
  "linesMbPerS",
  "blocksMbPerS",
  "lostLines",
  "zombies",
] as const;

export interface Bench {
  readonly sides: readonly Side[];
  /** Only in the log rows. */
  readonly logSides: readonly Side[];
  /** The service program with what runs it. */
  readonly service: readonly string[];
  readonly dir: string;
  say(line: string): void;
}

const count = 8;
const settleMs = 1300;
/** What a boot leaves to be tidied up is no part of standing idle. */
const idleSettleMs = 6000;
const noSamples = (): Samples => Object.fromEntries(sampleNames.map((name) => [name, [] as number[]])) as Samples;
let serial = 0;
let nextPort = 24_000 + Math.floor(Math.random() * 20) * 300;

export async function benchSupervise(bench: Bench, plan: SupervisePlan): Promise<Map<string, Samples>> {
  const samples = new Map([...bench.sides, ...bench.logSides].map(({ name }) => [name, noSamples()]));
  const of = (side: Side) => samples.get(side.name) as Samples;
  for (let round = 0; round < plan.rounds; round++) {
    bench.say(`round ${round + 1}/${plan.rounds}`);
    if (plan.only === "idle") {
      await measureIdle(bench, of, plan.idleMs);
      continue;
    }
    for (const side of bench.sides) await measureChain50(bench, side, of(side));
    for (const side of bench.sides) of(side).fan50Ms.push(await launchOnly(bench, side, services(bench, "fan", 50)));
    for (const side of bench.sides) await measureChain0(bench, side, of(side));
    for (const side of bench.sides) of(side).fan0Ms.push(await launchOnly(bench, side, services(bench, "fan", 0)));
    for (const side of [...bench.sides, ...bench.logSides]) await measureLog(bench, side, of(side), plan.logBytes);
    await measureIdle(bench, of, round === plan.rounds - 1 ? plan.idleMs : 0);
  }
  if (plan.only === "idle") return samples;
  bench.say("orphans under PID 1");
  for (const side of bench.sides) await measureZombies(bench, side, of(side));
  return samples;
}

type Shape = "chain" | "fan" | "alone";

function services({ service, dir }: Bench, shape: Shape, delayMs: number, ...mode: readonly string[]): BenchService[] {
  serial++;
  const base = (nextPort += count);
  if (nextPort > 31_000) nextPort = 24_000;
  const name = (index: number) => `s${index}`;
  return Array.from({ length: shape === "alone" ? 1 : count }, (_, index) => {
    const before = shape === "chain" ? index - 1 : 0;
    return {
      name: name(index),
      argv: [...service, name(index), String(base + index), String(delayMs), join(stageDir(dir), "events"), ...mode],
      port: base + index,
      ...(index > 0 && { after: { name: name(before), port: base + before } }),
    };
  });
}

const stageDir = (dir: string) => join(dir, `stage-${serial}`);

async function withSession(
  bench: Bench,
  side: Side,
  list: readonly BenchService[],
  measure: (session: Session, logOf: (name: string) => string) => Promise<void>,
  prefix: readonly string[] = [],
) {
  const dir = stageDir(bench.dir);
  mkdirSync(dir, { recursive: true });
  const launch = side.prepare({ dir, services: list });
  const session = new Session(launch, list, dir, prefix);
  try {
    await measure(session, launch.logOf);
  } finally {
    await session.destroy();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function measureChain50(bench: Bench, side: Side, samples: Samples): Promise<void> {
  await withSession(bench, side, services(bench, "chain", 50), async (session) => {
    samples.chain50Ms.push(await session.servingMs());
    samples.firstMs.push((session.facts.find(({ what }) => what === "start")?.atMs ?? Number.POSITIVE_INFINITY) - session.startedMs);
    samples.early.push(session.early());
    await pause(settleMs);
    samples.stopMs.push(await session.stopMs(20_000));
    samples.violations.push(session.violations());
  });
}

async function launchOnly(bench: Bench, side: Side, list: readonly BenchService[]): Promise<number> {
  let servingMs = Number.POSITIVE_INFINITY;
  await withSession(bench, side, list, async (session) => {
    servingMs = await session.servingMs();
  });
  return servingMs;
}

/** The last of the chain is killed: it has no dependants, so only its own way back is measured. */
async function measureChain0(bench: Bench, side: Side, samples: Samples): Promise<void> {
  await withSession(bench, side, services(bench, "chain", 0), async (session) => {
    samples.chain0Ms.push(await session.servingMs());
    await pause(settleMs);
    const victim = `s${count - 1}`;
    const times = () => session.facts.filter(({ name, what }) => name === victim && what === "serving");
    const from = nowMs();
    endNow(session.pidOf(victim) ?? 0);
    const again = await session.until(() => times()[1]?.atMs, 3000);
    samples.crashMs.push(again === undefined ? Number.POSITIVE_INFINITY : again - from);
    await pause(100);
    endNow(session.pid);
    await session.until(() => (session.endedMs !== undefined && session.alive().length === 0 ? true : undefined), 1500);
    samples.leftBehind.push(session.alive().length);
  });
}

async function measureLog(bench: Bench, side: Side, samples: Samples, bytes: number): Promise<void> {
  for (const [linesPerWrite, rates] of [
    [1, samples.linesMbPerS],
    [655, samples.blocksMbPerS],
  ] as const) {
    await withSession(bench, side, services(bench, "alone", 0, "write", String(bytes), String(linesPerWrite)), async (session, logOf) => {
      const sizeNow = () => logFiles(logOf("s0")).reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
      await session.until(() => session.facts.find(({ what }) => what === "wrote"), 60_000, { mustRun: true });
      let changedMs = nowMs();
      let size = 0;
      await session.until(() => {
        const now = sizeNow();
        if (now !== size) changedMs = nowMs();
        size = now;
        return size >= bytes || nowMs() - changedMs > 1500 ? true : undefined;
      }, 30_000);
      const beganMs = session.facts.find(({ what }) => what === "writes")?.atMs ?? Number.NaN;
      rates.push(bytes / 1000 / (changedMs - beganMs));
      // A logger may be in the middle of a rotation.
      await pause(200);
      samples.lostLines.push(bytes / 100 - countLines(logFiles(logOf("s0"))));
    });
  }
}

/** Whole lines of the writer, each number once. */
function countLines(paths: readonly string[]): number {
  const seen = new Set<number>();
  for (const path of paths) {
    for (const line of readFileSync(path, "latin1").split("\n")) if (line.length === 99 && line.startsWith("line ")) seen.add(Number(line.slice(5, 14)));
  }
  return seen.size;
}

/** All at once, so that a round costs only one wait; an idle supervisor does not disturb the others. */
async function measureIdle(bench: Bench, of: (side: Side) => Samples, cpuMs: number): Promise<void> {
  const gather = async (rest: readonly Side[], running: readonly Idle[]): Promise<void> => {
    const [side, ...others] = rest;
    if (!side) return await watchIdle(running);
    await withSession(bench, side, services(bench, "chain", 0), async (session) => {
      await session.servingMs();
      await gather(others, [...running, { side, session }]);
    });
  };
  const watchIdle = async (running: readonly Idle[]): Promise<void> => {
    await pause(idleSettleMs);
    const before = running.map(({ session }) => usedCpuMs(session.own()));
    await pause(cpuMs);
    for (const [index, { side, session }] of running.entries()) {
      const own = session.own();
      of(side).processes.push(own.length);
      of(side).pssMib.push(treePssMib(session.pid, own));
      if (cpuMs > 0) of(side).idleCpuPercent.push(((usedCpuMs(own) - (before[index] ?? 0)) * 100) / cpuMs);
    }
  };
  await gather(bench.sides, []);
}

interface Idle {
  readonly side: Side;
  readonly session: Session;
}

/** CPU time of processes with all their threads, in steps of 10 ms. */
function usedCpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return sum + (Number(fields[11]) + Number(fields[12])) * 10;
    } catch {
      return sum;
    }
  }, 0);
}

/** As PID 1 of a namespace: 50 grandchildren lose their parent and die; whose zombies are still there a second later? */
async function measureZombies(bench: Bench, side: Side, samples: Samples): Promise<void> {
  const list = services(bench, "alone", 0, "orphans", "50");
  await withSession(
    bench,
    side,
    list,
    async (session) => {
      const done = await session.until(() => session.facts.find(({ what }) => what === "orphaned"), 10_000, { mustRun: true });
      if (!done) return bench.say(`SKIPPED: zombies of ${side.name}: it does not run under unshare --pid here.`);
      await pause(1000);
      samples.zombies.push(processTree(session.pid).filter((pid) => stateOf(pid) === "Z").length);
    },
    ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"],
  );
}

function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] ?? "";
  } catch {
    return "";
  }
}

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Config } from "../src/config/schema/index.ts";
import { EventBus } from "../src/events/bus.ts";
import { createLog } from "../src/log/log.ts";
import { watchBoot } from "../src/phases/boot.ts";
import { becomeInit } from "../src/supervise/init/init.ts";
import { readProcess } from "../src/supervise/process-table.ts";
import { createRuntimeDir } from "../src/supervise/runtime-dir.ts";
import { runSupervisor } from "../src/supervise/supervisor.ts";
import { createTimeline } from "../src/supervise/timeline.ts";
import { selfArgv } from "../src/util/self-argv.ts";
import type { Args, Command, Io } from "./command.ts";
import type { ResolvedStart } from "./resolve-start.ts";
import { printResults } from "./test-input.ts";

/** What `start` has decided, as a plain value that a file can carry. */
export interface Decided {
  readonly args: Args;
  readonly config: Config;
  readonly facts: { readonly freePorts: readonly number[] };
  readonly plan: ResolvedStart["plan"];
  readonly settings: ResolvedStart["settings"];
  readonly logFormat: ResolvedStart["logFormat"];
  readonly secrets: readonly string[];
  readonly warnings: readonly string[];
}

/** After the first readiness of all; the first liveness probes and the worker's first questions are over by then. */
const settledMs = 2000;

export const command: Command = {
  name: "supervise",
  summary: "The process that start becomes once it has planned",
  positionals: "<file>",
  flags: [],
  examples: [],
  exits: [],
  async run({ positionals }, io) {
    const [file = ""] = positionals;
    const decided = JSON.parse(readFileSync(file, "utf8")) as Decided;
    rmSync(file, { force: true });
    return await superviseHere(decided, io);
  },
};

/**
 * Replaces this process by one of the same pid that has only the supervisor in it: what parsed and checked the configuration
 * weighs 20 MB and is not needed again before a SIGHUP. Where a process cannot do that (Deno), it goes on as it is.
 */
export async function supervise(decided: Decided, io: Io): Promise<number> {
  const execve = process.execve?.bind(process);
  if (process.versions["bun"] === undefined || !execve) return await superviseHere(decided, io);
  createRuntimeDir(decided.config.runtimeDir);
  // The plan may hold secrets: a file for this user alone, gone as soon as it is read.
  forgetFormer(decided.config.runtimeDir);
  const file = join(decided.config.runtimeDir, `start-${process.pid}.json`);
  writeFileSync(file, JSON.stringify(decided), { mode: 0o600 });
  const argv = [...selfArgv(), "supervise", file];
  // A signal that has come by now is delivered; one that comes from here on ends this process, which has started nothing yet.
  await new Promise((resolve) => setImmediate(resolve));
  if (io.signal.aborted) {
    rmSync(file, { force: true });
    return 0;
  }
  for (const signal of ["SIGTERM", "SIGINT"]) process.removeAllListeners(signal);
  return execve(argv[0] ?? "", argv, io.env as Record<string, string>);
}

/** A process that was ended before it could read its file. */
function forgetFormer(runtimeDir: string): void {
  for (const name of readdirSync(runtimeDir)) {
    const pid = /^start-(\d+)\.json$/.exec(name)?.[1];
    if (pid !== undefined && !readProcess(Number(pid))) rmSync(join(runtimeDir, name), { force: true });
  }
}

async function superviseHere({ args, config, facts, plan, settings, logFormat, secrets, warnings }: Decided, io: Io): Promise<number> {
  // A reload may bring new ones.
  const known = [...secrets];
  const log = createLog({ format: logFormat, level: config.log.level, secrets: known });
  for (const warning of warnings) log.warn(warning);
  const bus = new EventBus();
  let current = plan;
  const timeline = createTimeline(() => current);
  bus.observe((event) => timeline.apply(event));
  const { file } = config.sources;
  if (file?.enabled) printResults(bus, file.path, io.out);
  const init = await becomeInit();
  // A stop that came while all this was read; from here on the supervisor listens itself.
  if (io.signal.aborted) {
    init.end();
    return 0;
  }
  const endRelease = bus.observe(({ type }) => {
    if (type === "supervisor.ready") setTimeout(() => init.releaseCode(), settledMs).unref();
  });
  const boot = watchBoot(plan, { bus, log, stateDir: config.stateDir, logDir: config.logDir, stages: timeline.stages });
  const running = runSupervisor(plan, {
    bus,
    failure: boot.failure,
    init,
    log,
    logFormat,
    env: io.env,
    runtimeDir: config.runtimeDir,
    workerSettings: settings,
    secrets: known,
    replanned(next) {
      current = next;
      boot.use(next);
    },
    reload: async () => {
      const { reloadStart } = await import("./resolve-start.ts");
      return await reloadStart(args, io, { config, facts, secrets: known });
    },
    ...(config.health.enabled && { health: { listen: config.health.listen, port: config.health.port } }),
  });
  const exitCode = await running.finally(() => boot.end());
  if (args.flags["testInput"] !== undefined) rmSync(dirname(config.runtimeDir), { recursive: true, force: true });
  endRelease();
  if (args.flags["json"]) io.out(`${JSON.stringify({ exitCode, timeline: timeline.stages })}\n`);
  return exitCode;
}

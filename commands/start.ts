import { unpackAssets } from "../src/engines/diffusers/unpack.ts";
import { EventBus } from "../src/events/bus.ts";
import { createLog } from "../src/log/log.ts";
import { watchBoot } from "../src/phases/boot.ts";
import { explainPlan } from "../src/plan/explain.ts";
import { maskPlan } from "../src/plan/mask-plan.ts";
import { becomeInit } from "../src/supervise/init/init.ts";
import { runSupervisor } from "../src/supervise/supervisor.ts";
import { createTimeline } from "../src/supervise/timeline.ts";
import { type Args, type Command, type Io } from "./command.ts";
import { configFlags } from "./load-config.ts";
import { resolveStart, unchangeable } from "./resolve-start.ts";

export const command: Command = {
  name: "start",
  summary: "Boot everything and serve: the container's CMD",
  flags: [
    ...configFlags,
    { usage: "--dry-run", summary: "Print what would start, and start nothing" },
    { usage: "--engine-url <url>", summary: "Use the engine that runs there instead of launching one" },
  ],
  examples: ["fettle start", "fettle start --profile a1111-runpod --dry-run --json", "fettle start --config fettle.yaml --set sources.http.port=8001"],
  exits: ["N   the code of an essential service that ended", "3   a program is missing", "128+n  the stop was cut short"],
  run: start,
};

async function start(args: Args, io: Io): Promise<number> {
  const first = await resolveStart(args, io);
  const { loaded, config, plan, logFormat } = first;
  if (args.flags["dryRun"]) {
    const shown = maskPlan({ ...plan, warnings: [...loaded.warnings, ...plan.warnings] }, loaded.secrets);
    io.out(args.flags["json"] ? `${JSON.stringify(shown, null, 2)}\n` : explainPlan(shown));
    return 0;
  }
  unpackAssets(first.assetRoot);
  const log = createLog({ format: logFormat, level: config.log.level, secrets: loaded.secrets });
  for (const warning of loaded.warnings) log.warn(warning);
  const bus = new EventBus();
  const timeline = createTimeline(plan);
  bus.observe((event) => timeline.apply(event));
  const init = await becomeInit();
  // A stop that came while all this was read; from here on the supervisor listens itself.
  if (io.signal.aborted) {
    init.end();
    return 0;
  }
  const boot = watchBoot(plan, { bus, log, stateDir: config.stateDir, logDir: config.logDir, stages: timeline.stages });
  const running = runSupervisor(plan, {
    bus,
    failure: boot.failure,
    init,
    log,
    logFormat,
    env: io.env,
    runtimeDir: config.runtimeDir,
    workerSettings: first.settings,
    reload: async () => {
      const next = await resolveStart(args, io, first);
      unpackAssets(next.assetRoot);
      return { plan: next.plan, workerSettings: next.settings, warnings: [...next.loaded.warnings, ...unchangeable(config, next.config)] };
    },
    ...(config.health.enabled && { health: { listen: config.health.listen, port: config.health.port } }),
  });
  const exitCode = await running.finally(() => boot.end());
  if (args.flags["json"]) io.out(`${JSON.stringify({ exitCode, timeline: timeline.stages })}\n`);
  return exitCode;
}

import { socketName } from "../src/control/protocol.ts";
import { workerSettings } from "../src/control/worker-settings.ts";
import { assetDirIn, unpackAssets } from "../src/engines/diffusers/unpack.ts";
import { kinds } from "../src/engines/index.ts";
import { EventBus } from "../src/events/bus.ts";
import { createLog, resolveFormat } from "../src/log/log.ts";
import { readFacts } from "../src/machine/facts.ts";
import { buildPlan } from "../src/plan/build-plan.ts";
import { useEngineAt } from "../src/plan/engine-at.ts";
import { explainPlan } from "../src/plan/explain.ts";
import { maskPlan } from "../src/plan/mask-plan.ts";
import { factsNeeded } from "../src/plan/needs.ts";
import { becomeInit } from "../src/supervise/init/init.ts";
import { runSupervisor } from "../src/supervise/supervisor.ts";
import { createTimeline } from "../src/supervise/timeline.ts";
import { selfArgv } from "../src/util/self-argv.ts";
import { join } from "node:path";
import { type Args, type Command, type Io, textFlag } from "./command.ts";
import { configFlags, loadFromArgs } from "./load-config.ts";

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
  const loaded = loadFromArgs(args, io);
  const config = useEngineAt(loaded.config, textFlag(args, "engineUrl"));
  const facts = await readFacts(factsNeeded(config, kinds), { env: io.env });
  const logFormat = resolveFormat(config.log.format);
  const assetRoot = join(config.stateDir, "assets");
  const { plan, sources } = buildPlan(config, facts, {
    profile: loaded.profile,
    launchers: kinds,
    assetDir: assetDirIn(assetRoot),
    selfArgv: selfArgv(),
    logFormat,
    socketName,
  });
  if (args.flags["dryRun"]) {
    const shown = maskPlan({ ...plan, warnings: [...loaded.warnings, ...plan.warnings] }, loaded.secrets);
    io.out(args.flags["json"] ? `${JSON.stringify(shown, null, 2)}\n` : explainPlan(shown));
    return 0;
  }
  unpackAssets(assetRoot);
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
  const exitCode = await runSupervisor(plan, {
    bus,
    init,
    log,
    logFormat,
    env: io.env,
    runtimeDir: config.runtimeDir,
    workerSettings: workerSettings(config, plan, sources),
    ...(config.health.enabled && { health: { listen: config.health.listen, port: config.health.port } }),
  });
  if (args.flags["json"]) io.out(`${JSON.stringify({ exitCode, timeline: timeline.stages })}\n`);
  return exitCode;
}

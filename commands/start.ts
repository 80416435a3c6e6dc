import { unpackAssets } from "../src/engines/diffusers/unpack.ts";
import { explainPlan } from "../src/plan/explain.ts";
import { maskPlan } from "../src/plan/mask-plan.ts";
import { type Args, type Command, type Io } from "./command.ts";
import { configFlags } from "./load-config.ts";
import { resolveStart } from "./resolve-start.ts";
import { supervise } from "./supervise.ts";
import { testFlags } from "./test-input.ts";

export const command: Command = {
  name: "start",
  summary: "Boot everything and serve: the container's CMD",
  flags: [
    ...configFlags,
    { usage: "--dry-run", summary: "Print what would start, and start nothing" },
    { usage: "--engine-url <url>", summary: "Use the engine that runs there instead of launching one" },
    ...testFlags,
  ],
  examples: ["fettle start", "fettle start --profile a1111-runpod --dry-run --json", "fettle start --config fettle.yaml --set sources.http.port=8001"],
  exits: ["N   the code of an essential service that ended", "3   a program is missing", "128+n  the stop was cut short"],
  run: start,
};

async function start(args: Args, io: Io): Promise<number> {
  const first = await resolveStart(args, io);
  const { loaded, plan } = first;
  if (args.flags["dryRun"]) {
    const shown = maskPlan({ ...plan, warnings: [...loaded.warnings, ...plan.warnings] }, loaded.secrets);
    io.out(args.flags["json"] ? `${JSON.stringify(shown, null, 2)}\n` : explainPlan(shown));
    return 0;
  }
  unpackAssets(first.assetRoot);
  if (io.signal.aborted) return 0;
  const { config, facts, settings, logFormat } = first;
  const { secrets, warnings } = loaded;
  return await supervise({ args, config, facts: { freePorts: facts.freePorts }, plan, settings, logFormat, secrets, warnings }, io);
}

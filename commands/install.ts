import { existsSync } from "node:fs";
import requirements from "../src/engines/diffusers/helper/requirements.txt" with { type: "text" };
import { comfyuiSteps } from "../src/install/comfyui.ts";
import { engineSteps } from "../src/install/engines.ts";
import { runSteps } from "../src/install/step.ts";
import { createLog } from "../src/log/log.ts";
import { formatDuration } from "../src/util/duration.ts";
import type { Command } from "./command.ts";
import { configFlags, loadFromArgs } from "./load-config.ts";
import { startSpinner } from "./spinner.ts";

export const command: Command = {
  name: "install",
  summary: "Put in place what the configured engines need; finished steps are skipped",
  flags: configFlags,
  examples: ["fettle install --profile demo", "fettle install --config pod.yaml --json"],
  exits: ["1   a step failed; run it again after mending the cause", "3   git or Python is missing"],
  async run(args, io) {
    const { config, secrets, warnings } = loadFromArgs(args, io);
    const log = createLog({ format: config.log.format, level: config.log.level, secrets });
    for (const warning of warnings) log.warn(warning);
    const engines = engineSteps(config, { env: io.env, diffusersRequirements: requirements });
    const comfyui = config.install.comfyui ? comfyuiSteps(config.install.comfyui, io.env) : [];
    using spinner = startSpinner("Installing", log);
    const steps = await runSteps([...engines.groups, ...comfyui], {
      signal: io.signal,
      onStart: (title) => {
        spinner.update(title);
        log.debug(`Begin: ${title}`);
      },
      onLine: (title, line) => log.debug(`${title}: ${line}`),
      onEnd: ({ title, outcome, afterMs }) => log.info(outcome === "skipped" ? `${title}: there already` : `${title}: done in ${formatDuration(afterMs)}`),
    });
    const did = steps.filter(({ outcome }) => outcome === "done");
    spinner.succeed(did.length === 0 ? "Everything is in place." : `${did.length} of ${steps.length} steps done, the others were.`);
    const pythons = Object.entries(engines.pythons).filter(([, python]) => existsSync(python));
    for (const [name, python] of pythons) log.info(`Engine ${name} uses it with FETTLE_PYTHON=${python}, or engines.${name}.python: ${python}`);
    if (args.flags["json"] === true) io.out(`${JSON.stringify({ steps, pythons: Object.fromEntries(pythons) })}\n`);
    return 0;
  },
};

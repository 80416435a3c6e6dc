import { connectControl } from "../src/control/client.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { runSteps } from "../src/phases/steps/run-steps.ts";
import type { Step } from "../src/plan/step.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "steps",
  summary: "Carry out the steps of the task that start began this process for",
  flags: [],
  examples: ['FETTLE_STEPS=\'[{"type":"directories","paths":["/workspace/logs"],"onFailure":"fail"}]\' fettle steps'],
  exits: ["1   a step failed"],
  async run(_args, { env, out, signal }) {
    const text = env["FETTLE_STEPS"];
    if (!text)
      throw new FettleError("cli.bad-value", "Cannot carry out steps: FETTLE_STEPS does not hold any.", {
        hint: "`fettle start` begins this process by itself for a service with `steps`.",
      });
    const control = connectControl(env["FETTLE_CONTROL"] ?? "");
    return await runSteps(JSON.parse(text) as Step[], { say: (line) => out(`${line}\n`), snapshot: (options) => control.snapshot(options), signal });
  },
};

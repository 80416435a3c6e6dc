import { FettleError } from "../src/errors/fettle-error.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "health",
  summary: "being written",
  positionals: "[...rest]",
  flags: [],
  examples: [],
  exits: [],
  async run() {
    throw new FettleError("cli.bad-value", "Cannot run health: it is being written.");
  },
};

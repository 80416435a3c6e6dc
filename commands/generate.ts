import { FettleError } from "../src/errors/fettle-error.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "generate",
  summary: "being written",
  positionals: "[...rest]",
  flags: [],
  examples: [],
  exits: [],
  async run() {
    throw new FettleError("cli.bad-value", "Cannot run generate: it is being written.");
  },
};

import type { ControlClient } from "../src/control/client.ts";
import type { Snapshot } from "../src/control/protocol.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { suggest } from "../src/util/suggest.ts";
import { type Args, type Command, type Io, numberFlag } from "./command.ts";
import { findInstance, instanceFlags } from "./find-instance.ts";
import { describeServices } from "./service-table.ts";

const actions = ["list", "logs", "restart", "stop"] as const;

export const command: Command = {
  name: "service",
  summary: "List, restart or stop services; read their logs",
  positionals: "<action> [name]",
  flags: [
    { usage: "--follow", summary: "With logs: go on with what comes, until Ctrl-C" },
    { usage: "--lines <n>", summary: "With logs: so many of the last lines; default 100" },
    ...instanceFlags,
  ],
  examples: ["fettle service list", "fettle service logs webui --follow", "fettle service restart webui", "fettle service stop webui --json"],
  exits: ["1   none is running, or it is being stopped"],
  async run(args, io) {
    const [action = "", name] = args.positionals;
    const known = actions.find((one) => one === action);
    if (!known) {
      const near = suggest(action, actions);
      throw new FettleError("cli.bad-value", `Cannot run service ${action}: there is no such action.`, {
        hint: near ? `Did you mean "${near}"?` : `There are ${actions.join(", ")}.`,
      });
    }
    if (known === "list" && name !== undefined) throw new FettleError("cli.bad-value", `Cannot run service list: "${name}" is one argument too many.`);
    const lines = numberFlag(args, "lines", { min: 0, max: 1_000_000 }) ?? 100;
    if (known !== "list" && name === undefined) throw new FettleError("cli.bad-value", `Cannot run service ${action}: the name of a service is missing.`);
    const { control, snapshot } = await findInstance(args, io, { signal: io.signal });
    if (known === "list") return list(snapshot, args, io);
    const service = checkName(name ?? "", snapshot);
    if (known === "logs") return await printLogs(control, { service, lines, follow: args.flags["follow"] === true }, args, io);
    const status = await control[known](service, { signal: io.signal });
    io.out(args.flags["json"] ? `${JSON.stringify(status)}\n` : `${describeServices({ services: [status] }).join("\n")}\n`);
    return 0;
  },
};

function list(snapshot: Snapshot, args: Args, io: Io): number {
  if (args.flags["json"]) io.out(`${JSON.stringify({ services: snapshot.services })}\n`);
  else if (snapshot.services.length > 0) io.out(`${describeServices(snapshot).join("\n")}\n`);
  return 0;
}

function checkName(name: string, { services }: Snapshot): string {
  const names = services.map((one) => one.name);
  if (names.includes(name)) return name;
  const near = suggest(name, names);
  throw new FettleError("supervise.unknown-service", `Cannot use ${name}: there is no such service.`, {
    hint: near ? `Did you mean "${near}"?` : `There are ${names.join(", ") || "none"}.`,
  });
}

async function printLogs(
  control: ControlClient,
  { service, lines, follow }: { service: string; lines: number; follow: boolean },
  args: Args,
  io: Io,
): Promise<number> {
  const blocks = control.logs(service, { lines, follow, signal: io.signal });
  if (!args.flags["json"]) {
    const decoder = new TextDecoder();
    for await (const block of blocks) io.out(decoder.decode(block, { stream: true }));
    return 0;
  }
  const held: Buffer[] = [];
  for await (const block of blocks) held.push(block);
  const text = Buffer.concat(held).toString("utf8").replace(/\n$/, "");
  io.out(`${JSON.stringify({ service, lines: text === "" ? [] : text.split("\n") })}\n`);
  return 0;
}

import { FettleError } from "../errors/fettle-error.ts";
import type { Service } from "./plan.ts";

type Files = Pick<Service, "name" | "logFile" | "pidFile" | "directLog">;

/**
 * Throws when two want one file that cannot be shared. A log may be: fettle writes it line by line for all of them. One that a
 * program writes itself may not: its lines would be cut, and nobody could rotate it.
 */
export function checkFiles(services: readonly Files[]): void {
  const logs = Map.groupBy(services, ({ logFile }) => logFile);
  for (const [path, users] of logs) {
    const direct = users.find(({ directLog }) => directLog);
    const other = users.find((one) => one !== direct);
    if (!direct || !other) continue;
    throw new FettleError(
      "config.invalid",
      `Cannot plan: "${other.name}" and "${direct.name}" both write ${path}, and the log of "${direct.name}" is direct.`,
      {
        hint: `Give one of them another logFile, or remove \`log: direct\` from ${direct.name}.`,
        where: { path: `services.${direct.name}.log` },
      },
    );
  }
  const pids = new Map<string, string>();
  for (const { name, pidFile } of services) {
    const other = pids.get(pidFile) ?? logs.get(pidFile)?.[0]?.name;
    if (other !== undefined) {
      throw new FettleError("config.invalid", `Cannot plan: "${other}" and "${name}" both write ${pidFile}, which is the PID file of "${name}".`, {
        hint: "Give one of them another file.",
        where: { path: `services.${name}.pidFile` },
      });
    }
    pids.set(pidFile, name);
  }
}

import { FettleError } from "../errors/fettle-error.ts";
import type { Dependency, Service } from "./plan.ts";

const isLine = ({ condition }: Dependency): boolean => condition === "log-line";

/** Throws when a line of a program is waited for that writes its log itself: nobody would see it. */
export function checkDirectLogs(services: readonly Pick<Service, "name" | "directLog" | "readiness" | "dependsOn">[]): void {
  const direct = new Set(services.filter(({ directLog }) => directLog).map(({ name }) => name));
  for (const { name, readiness, dependsOn } of services) {
    const awaited = [...(readiness?.type === "log-line" ? [name] : []), ...dependsOn.filter(isLine).map(({ service }) => service)].find((one) =>
      direct.has(one),
    );
    if (awaited === undefined) continue;
    throw new FettleError("config.invalid", `Cannot start "${name}": it waits for a line of "${awaited}", whose log is direct.`, {
      hint: `Remove \`log: direct\` from ${awaited}, or wait in another way.`,
      where: { path: `services.${awaited}.log` },
    });
  }
}

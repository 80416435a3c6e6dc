import { about, type Check, critical, type Finding, notChecked, ok } from "../check.ts";
import { conflicts, parseListeners, type Listener } from "../listeners.ts";
import type { Patient } from "../patient.ts";
import { describeProcess, descendsFrom, listProcesses, ownersOf } from "../processes.ts";

export const portsChecks: readonly Check[] = [{ id: "ports.free", subject: "ports", title: "port", needs: ["config.valid"], check: ports }];

interface Wanted {
  readonly what: string;
  readonly path: string;
  readonly host: string;
  readonly port: number;
}

function wantedPorts({ valid, engines }: Patient): Wanted[] {
  const { http } = valid.sources;
  return [
    ...engines.map(([name, { host, port }]) => ({ what: `engine ${name}`, path: `engines.${name}.port`, host, port })),
    ...(http?.enabled ? [{ what: "the job API", path: "sources.http.port", host: http.listen, port: http.port }] : []),
    ...(valid.health.enabled ? [{ what: "the health server", path: "health.port", host: valid.health.listen, port: valid.health.port }] : []),
    // 0: the system chooses, nothing can clash.
  ].filter(({ port }) => port !== 0);
}

async function ports(patient: Patient): Promise<Finding | Finding[]> {
  const wanted = wantedPorts(patient);
  if (wanted.length === 0) return ok("this configuration wants no fixed port");
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((file) => patient.read(file)));
  if (tables.every((table) => table === undefined)) return notChecked("/proc/net/tcp cannot be read");
  const listeners = tables.flatMap((table) => parseListeners(table ?? ""));
  const held = wanted.map((one) => ({ one, by: listeners.find((listener) => conflicts(one, listener)) }));
  const owners = held.some(({ by }) => by)
    ? await ownersOf(patient.at("/proc"), new Set(held.flatMap(({ by }) => (by ? [by.inode] : []))))
    : new Map<string, number>();
  return await Promise.all(
    held.map(async ({ one, by }) =>
      about(String(one.port), by === undefined ? ok(`free for ${one.what}`) : await taken(patient, one, by, owners.get(by.inode))),
    ),
  );
}

async function taken(patient: Patient, { what, path, port }: Wanted, by: Listener, pid: number | undefined): Promise<Finding> {
  const place = `${by.address}:${port}`;
  if (pid === undefined)
    return critical(
      `${what} wants it, but ${place} is held by a process that cannot be seen from here (another user's, or outside this container)`,
      `Set ${path} to another port.`,
    );
  const instance = await patient.instance().catch(() => undefined);
  const own = instance !== undefined && descendsFrom(await listProcesses(patient.at("/proc")), pid, instance.pid);
  if (own) return ok(`held by this running fettle for ${what} (pid ${pid})`, { pid });
  const program = await describeProcess(patient.at("/proc"), pid);
  return critical(`${what} wants it, but pid ${pid} (${program}) listens on ${place}`, `kill ${pid}, or set ${path} to another port`, { pid, program });
}

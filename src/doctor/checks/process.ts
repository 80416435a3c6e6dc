import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { pause } from "../../util/pause.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";
import { listProcesses } from "../processes.ts";

export const processChecks: readonly Check[] = [
  { id: "process.init", subject: "process", title: "PID 1", check: init },
  { id: "process.programs", subject: "process", title: "services' programs", needs: ["config.valid"], check: async (patient) => programs(patient) },
  { id: "process.clock", subject: "process", title: "clock", check: async (patient) => clock(patient) },
];

/** Programs that wait for every orphan. A shell does too, as long as it waits for something. */
const reapers = /^(tini|docker-init|dumb-init|catatonit|s6-svscan|runit|runsvdir|systemd|init|busybox|pid1|podman-init|fettle)$/;
/** A zombie that is just being waited for is gone after this. */
const secondLookMs = 150;

async function init({ at, read }: Patient, { signal }: { signal: AbortSignal }): Promise<Finding> {
  const name = (await read("/proc/1/comm"))?.trim();
  if (name === undefined) return notChecked("/proc/1/comm cannot be read");
  const zombies = async () => (await listProcesses(at("/proc"))).filter(({ state, parent }) => state === "Z" && parent === 1);
  const first = await zombies();
  if (first.length > 0) await pause(secondLookMs, { signal });
  const later = first.length > 0 ? await zombies() : [];
  const stayed = later.filter((one) => first.some(({ pid, startTicks }) => pid === one.pid && startTicks === one.startTicks));
  const fix = 'docker run --init …, or ENTRYPOINT ["tini", "--"] in the image';
  if (stayed.length > 0)
    return warning(`${name} leaves ${stayed.length} dead process${stayed.length === 1 ? "" : "es"} unreaped; they use up the limit of processes`, fix, {
      name,
      zombies: stayed.length,
    });
  if (reapers.test(name)) return ok(name, { name });
  return ok(`${name}; no orphans wait to be reaped`, { name });
}

function programs(patient: Patient): Finding | Finding[] {
  const services = Object.entries(patient.valid.services).filter(
    ([, { enabled, onlyIfExists, onlyIfSet, command }]) =>
      enabled && command !== undefined && onlyIfSet !== "" && (onlyIfExists === undefined || isThere(patient.at(onlyIfExists), constants.F_OK)),
  );
  if (services.length === 0) return notChecked("this configuration starts no further services");
  return services.map(([name, { command = [], env, cwd }]) => {
    const [program = ""] = command;
    const found = findProgram(program, { path: env["PATH"] ?? patient.env["PATH"], cwd: cwd ?? patient.cwd });
    return about(
      name,
      found === undefined ? critical(`there is no program ${program}`, `Install ${program}, or correct services.${name}.command.`) : ok(found),
    );
  });
}

function findProgram(program: string, { path, cwd }: { path: string | undefined; cwd: string }): string | undefined {
  const candidates = program.includes("/")
    ? [resolve(cwd, program)]
    : (path ?? "/usr/local/bin:/usr/bin:/bin").split(delimiter).map((dir) => join(dir || ".", program));
  return candidates.find((file) => isThere(file, constants.X_OK) && statSync(file).isFile());
}

function isThere(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

/** When this was written; a clock before it makes every certificate "not yet valid". */
const earliest = Date.UTC(2026, 0, 1);
const dayMs = 86_400_000;

function clock({ config }: Patient): Finding {
  const now = Date.now();
  const text = `${new Date(now).toISOString().slice(0, 19)}Z`;
  const fix = "Set the host's clock (chronyd, or `timedatectl set-ntp true` on the host).";
  if (now < earliest) return critical(`${text} is in the past: certificates will be refused`, fix);
  const files = [process.execPath, ...(config.type === "loaded" ? config.loaded.files : [])];
  const ahead = files.filter((file) => mtimeOf(file) > now + dayMs);
  return ahead.length > 0 ? warning(`${text}, but ${ahead[0]} was written in the future; the clock is slow, or was wrong`, fix) : ok(text);
}

function mtimeOf(file: string): number {
  try {
    return statSync(file).mtimeMs;
  } catch {
    return 0;
  }
}

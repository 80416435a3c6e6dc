import { randomBytes } from "node:crypto";
import { readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Snapshot } from "../../control/protocol.ts";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import { describeCheck, type Step, type StepCheck } from "../../plan/step.ts";
import { httpCheck } from "../../probes/http.ts";
import { tcpCheck } from "../../probes/tcp.ts";
import { pause } from "../../util/pause.ts";

type CheckStep = Extract<Step, { type: "check" }>;

export interface CheckSurroundings {
  /** The services as the supervisor sees them. */
  snapshot(options: { signal: AbortSignal }): Promise<Snapshot>;
  readonly signal: AbortSignal;
}

type Answer = { readonly id: "yes" } | { readonly id: "no"; readonly reason: string } | { readonly id: "skip"; readonly reason: string };

const againMs = 100;

/** Asks until it is true or its time is over; a service that does not run here by intent is skipped. */
export async function runCheck({ check, title, timeoutMs }: CheckStep, { snapshot, signal }: CheckSurroundings): Promise<string[]> {
  const what = title ?? describeCheck(check);
  const over = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  let known: string | undefined;
  for (;;) {
    const answer = await ask(check, { snapshot, signal: over });
    if (answer.id === "yes") return [`ok: ${what}`];
    if (answer.id === "skip") return [`skipped: ${what} (${answer.reason})`];
    // Paths do not heal within seconds; what a program must do may only be late.
    const isPath = check.type === "exists" || check.type === "writable" || check.type === "mounted";
    if (isPath) {
      const hint =
        check.type === "mounted"
          ? `Mount a volume there, such as docker run -v NAME:${check.path}.`
          : `Look at it: ls -la ${check.path}; mount | grep ${check.path}`;
      throw new FettleError("phase.not-accessible", `Cannot use ${check.path}: ${answer.reason}.`, { hint });
    }
    // A question that was cut off by the end of the time says less than the answer before it.
    if (!over.aborted) known = answer.reason;
    else throw new FettleError("phase.check-failed", `Cannot confirm that ${what}: ${known ?? answer.reason}.`);
    await pause(againMs, { signal: over });
  }
}

async function ask(check: StepCheck, { snapshot, signal }: CheckSurroundings): Promise<Answer> {
  switch (check.type) {
    case "exists":
      return (await stat(check.path).catch(() => undefined)) ? yes : no("it does not exist");
    case "writable":
      return await askWritable(check.path);
    case "mounted":
      return await askMounted(check.path);
    case "http":
    case "tcp": {
      const probe = check.type === "http" ? httpCheck(check.url) : tcpCheck("127.0.0.1", check.port);
      const result = await probe({ signal });
      return result.ok ? yes : no(result.reason);
    }
    case "service":
      return await askService(check.service, { snapshot, signal });
  }
}

const yes: Answer = { id: "yes" };
const no = (reason: string): Answer => ({ id: "no", reason });

/** By making a file: rights alone say nothing of a volume that is mounted read-only, or full. */
async function askWritable(folder: string): Promise<Answer> {
  const found = await stat(folder).catch(() => undefined);
  if (!found) return no("it does not exist");
  if (!found.isDirectory()) return no("it is not a folder");
  const file = join(folder, `.fettle-${randomBytes(6).toString("hex")}`);
  try {
    await writeFile(file, "x", { flag: "wx" });
    return yes;
  } catch (error) {
    return no(reasonOf(error));
  } finally {
    await rm(file, { force: true }).catch(() => undefined);
  }
}

async function askMounted(folder: string): Promise<Answer> {
  const real = await realpath(folder).catch(() => undefined);
  if (real === undefined) return no("it does not exist");
  const table = await readFile("/proc/self/mountinfo", "utf8").catch(() => undefined);
  if (table === undefined) return { id: "skip", reason: "this machine has no table of mounts" };
  const isMounted = table.split("\n").some((row) => unescape(row.split(" ")[4] ?? "") === real);
  return isMounted ? yes : no("no volume is mounted on it, so what is written there is lost with the container");
}

/** The kernel writes blanks in paths as \040. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)));
}

async function askService(name: string, { snapshot, signal }: CheckSurroundings): Promise<Answer> {
  try {
    const { services } = await snapshot({ signal });
    const service = services.find((one) => one.name === name);
    if (!service) return { id: "skip", reason: "it is not enabled" };
    if (service.state === "ready" || (service.role === "task" && service.ending?.code === 0)) return yes;
    return no(`it is ${service.state}${service.reason === undefined ? "" : `: ${service.reason}`}`);
  } catch (error) {
    return no(reasonOf(error));
  }
}

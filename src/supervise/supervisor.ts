import { readFileSync, rmSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import type { ServiceStatus, Snapshot, WorkerSettings } from "../control/protocol.ts";
import { FettleError } from "../errors/fettle-error.ts";
import type { EventBus } from "../events/bus.ts";
import type { Log, LogFormat } from "../log/log.ts";
import { createByteMask } from "../log/mask.ts";
import type { Plan, Service } from "../plan/plan.ts";
import { atMost } from "../util/at-most.ts";
import { version } from "../version.ts";
import { createAnnouncer } from "./announce.ts";
import { createControl } from "./control-server.ts";
import { endStrays } from "./end-family.ts";
import { inheritedEnv } from "./environment.ts";
import { startGuardian } from "./guardian.ts";
import { type HealthAddress, openHealthServer } from "./health-server.ts";
import type { Init } from "./init/init.ts";
import { LogFiles } from "./log-files.ts";
import { createMetrics } from "./metrics/metrics.ts";
import { describeLeftovers, endLeftovers, refuseBeside, RunRecord } from "./run-record.ts";
import { reload, type Reloaded, watchReload } from "./reload.ts";
import { claimSocket, createRuntimeDir } from "./runtime-dir.ts";
import { SupervisedService } from "./service.ts";
import { stopWithin } from "./shutdown.ts";
import { signalNumber, watchReopen, watchSignals } from "./signals.ts";
import { createStatus } from "./status.ts";
import { markerOf, type Surroundings } from "./surroundings.ts";
import { createTimeline, formatTimeline } from "./timeline.ts";

export interface SupervisorOptions {
  readonly bus: EventBus;
  readonly log: Log;
  /** The format that `log` writes; the worker writes the same, so its lines pass through as they are. */
  readonly logFormat: LogFormat;
  /** fettle's own environment, the base of every child's. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly runtimeDir: string;
  /** Given to the worker over the control socket. */
  readonly workerSettings?: WorkerSettings;
  /** Reads the configuration again, on SIGHUP; left out: SIGHUP is not obeyed. */
  readonly reload?: () => Promise<Reloaded>;
  /** After a reload: another plan holds from now on. */
  readonly replanned?: (plan: Plan) => void;
  /** Texts that no log of a service shall hold; the list may grow. */
  readonly secrets?: readonly string[];
  /** Where the machine's health is served; left out: nowhere. A port that is taken is a warning. */
  readonly health?: HealthAddress;
  /** What this process does about orphans; left out: nothing. Ended with the supervisor. */
  readonly init?: Init;
  /** Obey SIGTERM and SIGINT; default true. `generate` stops by `signal` alone. */
  readonly obeySignals?: boolean;
  /** Resolves when an observer finds that everything must stop: a phase of the boot that had to succeed has failed. */
  readonly failure?: Promise<{ readonly reason: string; readonly exitCode: number }>;
  /** Raw lines for the container's log; default stderr. */
  readonly write?: (text: string) => void;
  /** Aborts to stop everything in order, as SIGTERM does. */
  readonly signal?: AbortSignal;
}

/** Why everything stops, and the exit code if the stop itself is clean. */
interface StopCause {
  readonly reason: string;
  readonly exitCode: number;
  /** For 128 + n when the stop is cut short. */
  readonly signal?: NodeJS.Signals;
}

/**
 * Runs a plan until a signal, an essential service's end or the end of all services stops it; resolves with the exit code.
 * Throws only before anything was started: `supervise.already-running`, `supervise.cannot-write`.
 */
export async function runSupervisor(plan: Plan, options: SupervisorOptions): Promise<number> {
  const stopping = Promise.withResolvers<StopCause>();
  const signals = { count: 0, last: undefined as NodeJS.Signals | undefined, hasten: new AbortController() };
  const watch =
    options.obeySignals === false
      ? undefined
      : watchSignals((signal) => {
          signals.last = signal;
          if (++signals.count > 1) return signals.hasten.abort();
          stopping.resolve({ reason: `received ${signal}`, exitCode: 0, signal });
        });
  const onAbort = () => stopping.resolve({ reason: "asked to stop", exitCode: 0 });
  options.signal?.addEventListener("abort", onAbort, { once: true });
  void options.failure?.then((cause) => stopping.resolve(cause));
  if (options.signal?.aborted) onAbort();
  try {
    return await supervise(plan, options, stopping, signals);
  } finally {
    watch?.end();
    options.signal?.removeEventListener("abort", onAbort);
  }
}

async function supervise(
  plan: Plan,
  options: SupervisorOptions,
  stopping: PromiseWithResolvers<StopCause>,
  signals: { readonly last: NodeJS.Signals | undefined; readonly hasten: AbortController },
): Promise<number> {
  const { bus, runtimeDir } = options;
  let current: Pick<Reloaded, "plan" | "workerSettings"> = { plan, ...(options.workerSettings && { workerSettings: options.workerSettings }) };
  const status = createStatus(plan);
  const timeline = createTimeline(() => current.plan);
  const announce = createAnnouncer(() => current.plan, options.log);
  const metrics = createMetrics();
  const endObservers = [
    bus.observe((event) => metrics.apply(event)),
    bus.observe((event) => status.apply(event)),
    bus.observe((event) => timeline.apply(event)),
    bus.observe(announce),
  ];
  const snapshot = (): Snapshot => status.snapshot(timeline.stages);
  const services = new Map<string, SupervisedService>();
  const logFiles = new LogFiles();
  let isStopping = false;
  const act = async (service: SupervisedService, action: "restart" | "stop"): Promise<ServiceStatus> => {
    if (isStopping) throw new FettleError("supervise.stopping", `Cannot ${action} ${service.name}: everything is being stopped.`);
    await service[action]();
    return snapshot().services.find(({ name }) => name === service.name) as ServiceStatus;
  };
  const control = createControl({
    bus,
    workerSettings: () => current.workerSettings,
    snapshot,
    end: (wish) => stopping.resolve(wish),
    outputOf: (name) =>
      services.get(name) && { output: (services.get(name) as SupervisedService).output, path: (services.get(name) as SupervisedService).spec.logFile },
    act: (name, action) => services.get(name) && act(services.get(name) as SupervisedService, action),
  });
  createRuntimeDir(runtimeDir);
  refuseBeside(runtimeDir);
  const socket = await claimSocket(control, runtimeDir);

  bus.emit({ type: "supervisor.started", profile: plan.profile, version, processStartedMs: processStartedMs() });
  const warn = (message: string, hint?: string) => void bus.emit({ type: "supervisor.warned", message, ...(hint !== undefined && { hint }) });
  const instance = crypto.randomUUID().slice(-12);
  const env = inheritedEnv(options.env);
  for (const message of describeLeftovers(await endLeftovers(runtimeDir))) warn(message);
  const record = new RunRecord(runtimeDir, instance);
  const guardian = startGuardian({
    marker: markerOf(instance),
    env,
    onLost: (reason) => warn(`The guardian is gone (${reason}).`, "If fettle itself is killed, its services may go on."),
  });
  const write = options.write ?? ((text: string) => void process.stderr.write(text));
  let isReady = false;
  const around: Surroundings = {
    bus,
    env,
    instance,
    guardian,
    record,
    isRoot: process.getuid?.() === 0,
    logFiles,
    mask: createByteMask(options.secrets ?? []),
    mirror(service, line) {
      if (services.get(service)?.spec.role === "worker") write(`${line}\n`);
      else options.log.line(options.logFormat === "pretty" ? line : stripVTControlCharacters(line), { service });
    },
    warn,
    changed() {
      if (isReady || isStopping || services.size < current.plan.services.length || ![...services.values()].every(isUp)) return endIfAllEnded();
      isReady = true;
      bus.emit({ type: "supervisor.ready", afterMs: performance.now() - processStartedMs() });
      if (services.size > 0) for (const line of formatTimeline(timeline.stages)) options.log.info(line);
      endIfAllEnded();
    },
    essentialEnded: (service, exitCode, reason) => stopping.resolve({ reason: `${service} ${reason}`, exitCode }),
  };
  const endIfAllEnded = () => {
    const all = [...services.values()];
    if (all.length < current.plan.services.length || all.length === 0 || !all.every(({ state }) => state.id === "exited" && !state.wanted)) return;
    const failed = snapshot().services.filter(({ ending, reason }) => ending?.code !== 0 || (reason !== undefined && ending === undefined));
    const first = failed.find(({ name }) => services.get(name)?.spec.essential) ?? failed[0];
    stopping.resolve({
      reason: "every service has ended",
      exitCode: first ? (first.ending ? (first.ending.code ?? 128 + signalNumber(first.ending.signal)) : 1) : 0,
    });
  };
  const create = (spec: Service) => new SupervisedService(spec, around, (name) => services.get(name));
  for (const spec of plan.services) services.set(spec.name, create(spec));
  expectLines(plan, services);
  const health =
    options.health &&
    openHealthServer(options.health, snapshot, () => metrics.format(snapshot(), current.plan.engines)).then((opened) => {
      if (opened.type === "failed")
        warn(`Cannot serve health on ${options.health?.listen}:${options.health?.port}: ${opened.reason}.`, "`fettle health` works without it.");
      return opened;
    });
  for (const service of services.values()) service.start();
  if (services.size === 0) around.changed();

  const reopening = watchReopen(() => {
    const direct = current.plan.services.filter(({ directLog }) => directLog).map(({ name }) => name);
    bus.emit({ type: "supervisor.logs-reopened", files: logFiles.reopen(), direct });
  });
  const reloadNow = () =>
    reload({
      bus,
      services,
      create,
      read: options.reload as () => Promise<Reloaded>,
      current: () => current,
      use(next) {
        current = next;
        status.use(next.plan);
        options.replanned?.(next.plan);
      },
      placed: (next) => expectLines(next, services),
      changed: around.changed,
      isStopping: () => isStopping,
    });
  const hangup = watchReload(options.reload, reloadNow, () => stopping.resolve({ reason: "the terminal is gone", exitCode: 0, signal: "SIGHUP" }));
  const cause = await stopping.promise;
  isStopping = true;
  hangup?.end();
  const stopMs = performance.now();
  bus.emit({ type: "supervisor.stopping", reason: cause.reason, budgetMs: current.plan.stopBudgetMs });
  const hasten = () => {
    for (const service of services.values()) {
      if (service.spec.role === "worker") service.hasten(hastyMs);
      else service.kill();
    }
  };
  signals.hasten.signal.addEventListener("abort", hasten, { once: true });
  if (signals.hasten.signal.aborted) hasten();
  const { cutShort, left } = await stopWithin([...services.values()], current.plan.stopBudgetMs);
  if (left.length > 0) warn(`Cannot wait any longer for ${left.join(", ")}; the stop budget is used up.`);
  const restMs = stopMs + current.plan.stopBudgetMs - performance.now();
  await endStrays(markerOf(instance), { adopted: () => options.init?.adopted(guardian.pids) ?? [], vanishMs: Math.max(200, Math.min(2000, restMs)) });
  const isCut = cutShort || signals.hasten.signal.aborted;
  const exitCode = cause.exitCode === 0 && isCut ? 128 + signalNumber(signals.last ?? cause.signal ?? "SIGTERM") : cause.exitCode;
  bus.emit({ type: "supervisor.stopped", exitCode, afterMs: performance.now() - stopMs });
  record.end();
  await guardian.close();
  const opened = await health;
  const outputs = [...services.values()].map(({ output }) => output.close());
  await Promise.all([socket.close(), opened?.type === "listening" ? opened.server.close() : undefined, atMost(closeMs, Promise.all(outputs))]);
  reopening.end();
  options.init?.end();
  rmSync(socket.path, { force: true });
  for (const end of endObservers) end();
  return exitCode;
}

/** For a worker to post what became of its jobs after a second signal. */
const hastyMs = 1000;
/** For the last lines to reach the disk; a log on a dead volume takes for ever. */
const closeMs = 1000;

function expectLines({ services: specs }: Plan, services: ReadonlyMap<string, SupervisedService>): void {
  for (const { dependsOn } of specs) for (const { service, pattern } of dependsOn) if (pattern !== undefined) services.get(service)?.expectLine(pattern);
}

function isUp({ state, isTask, spec, hasStarted, hasSettled }: SupervisedService): boolean {
  if ((spec.background && hasStarted) || (spec.optional && hasSettled)) return true;
  return (!isTask && state.id === "ready") || (state.id === "exited" && !state.wanted && state.ending?.code === 0);
}

/** When the kernel started this process, on the scale of performance.now(); a little below 0. Clock ticks are 10 ms. */
function processStartedMs(): number {
  try {
    const ticks = Number(readFileSync("/proc/self/stat", "latin1").split(") ").at(-1)?.split(" ")[19]);
    const uptimeMs = Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]) * 1000;
    return Math.min(0, performance.now() - (uptimeMs - ticks * 10));
  } catch {
    return 0;
  }
}

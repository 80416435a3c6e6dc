import type { Ending } from "../events/event.ts";
import type { Service } from "../plan/plan.ts";
import { createCheck } from "../probes/create-check.ts";
import { waitUntilReady, watchReadiness } from "../probes/probe.ts";
import { pause } from "../util/pause.ts";
import { type Child, type ChildOptions, spawnChild } from "./child.ts";
import { endFamily } from "./end-family.ts";
import { serviceEnv } from "./environment.ts";
import type { Output } from "./output.ts";
import { removePidFile, writePidFile } from "./pid-file.ts";
import { commandRunner } from "./run-command.ts";
import type { ServiceState } from "./service-state.ts";
import { markerOf, type Surroundings } from "./surroundings.ts";
import { type Identity, resolveUser } from "./user.ts";

/** How one child's life ended. `readyMs`: how long it had been ready in all, 0 = never. */
export type LifeEnd =
  | { readonly type: "spawn-failed"; readonly reason: string; readonly permanent: boolean }
  | { readonly type: "too-late"; readonly ending: Ending; readonly reason: string }
  | { readonly type: "exited"; readonly ending: Ending; readonly readyMs: number }
  | { readonly type: "stopped"; readonly ending: Ending; readonly killed: boolean };

export interface LifeOptions {
  readonly service: Service;
  readonly around: Surroundings;
  readonly output: Output;
  readonly restarts: number;
  /** Aborts when the child shall stop. */
  readonly stop: AbortSignal;
  /** Aborts when its grace is over. */
  readonly kill: AbortSignal;
  set(state: ServiceState): void;
}

/** After the child is gone its output may be held open by somebody who got away; not longer than this. */
const drainMs = 1000;

/** One child from spawn to the last trace of it: probing, its end, the end of its family, its output. */
export async function runLife(options: LifeOptions): Promise<LifeEnd> {
  const { service, around, output, set, stop } = options;
  const { bus } = around;
  set({ id: "starting" });
  bus.emit({ type: "service.starting", service: service.name, argv: service.argv, ...(service.announce !== undefined && { announce: service.announce }) });
  const identity = identityOf(service, around);
  if (typeof identity === "string") return { type: "spawn-failed", reason: identity, permanent: true };
  output.beginChild();
  const spawned = await spawnChild({ ...spawnOptions(service, around, identity), argv: service.argv, onOutput: (stream, chunk) => output.push(stream, chunk) });
  if (spawned.type === "spawn-failed") return spawned;
  const { child } = spawned;
  const spawnedMs = performance.now();
  around.guardian.add(child.pid);
  const trouble = writePidFile(service.pidFile, child.pid);
  if (trouble !== undefined) around.warn(`Cannot write ${service.pidFile}: ${trouble}.`);
  bus.emit({ type: "service.spawned", service: service.name, pid: child.pid, restarts: options.restarts });
  set({ id: "starting", child });

  const probing = new AbortController();
  let readySinceMs: number | undefined;
  const probe = watch(options, child, identity, probing.signal, () => {
    readySinceMs ??= performance.now();
    bus.emit({ type: "service.ready", service: service.name, afterMs: performance.now() - spawnedMs });
    set({ id: "ready", child, sinceMs: readySinceMs });
  });
  const stopped = Promise.withResolvers<{ type: "stop" }>();
  const onStop = () => stopped.resolve({ type: "stop" });
  stop.addEventListener("abort", onStop, { once: true });
  if (stop.aborted) onStop();
  const first = await Promise.race([child.exited.then((ending) => ({ type: "exited", ending }) as const), stopped.promise, probe]);
  stop.removeEventListener("abort", onStop);
  const readyMs = readySinceMs === undefined ? 0 : performance.now() - readySinceMs;
  probing.abort();

  if (first.type === "too-late") bus.emit({ type: "service.failed", service: service.name, reason: first.reason });
  if (first.type === "stop") set({ id: "stopping", child });
  if (first.type !== "exited") bus.emit({ type: "service.stopping", service: service.name, signal: service.stop.signal });
  const killed = await endChild(options, child, first.type !== "stop");
  const ending = await child.exited;
  bus.emit({ type: "service.exited", service: service.name, ending, wanted: first.type === "stop", lastLines: output.lastLines });
  if (first.type === "stop") return { type: "stopped", ending, killed };
  return first.type === "too-late" ? { type: "too-late", ending, reason: first.reason } : { type: "exited", ending, readyMs };
}

/** Resolves only when the child was not ready in time. */
async function watch(
  { service, around, output, set }: LifeOptions,
  child: Child,
  identity: Identity | undefined,
  signal: AbortSignal,
  onReady: () => void,
): Promise<{ type: "too-late"; reason: string }> {
  const { readiness } = service;
  const { bus } = around;
  const never = new Promise<never>(() => undefined);
  if (!readiness) {
    if (service.role !== "task") onReady();
    return never;
  }
  const check = createCheck(readiness, { run: commandRunner(() => spawnOptions(service, around, identity)), onLines: (feed) => output.listen(feed) });
  const outcome = await waitUntilReady(check, readiness, {
    signal,
    onWaiting: (tries, reason) => bus.emit({ type: "service.waiting", service: service.name, tries, reason }),
  });
  if (outcome.type === "too-late") return { type: "too-late", reason: `it was not ready after ${readiness.startupMs / 1000} s: ${outcome.reason}` };
  if (outcome.type === "aborted") return never;
  onReady();
  if (readiness.type === "log-line") return never;
  const watching = watchReadiness(check, readiness, {
    signal,
    onChange(reason) {
      if (reason === undefined) return onReady();
      set({ id: "unready", child, reason });
      bus.emit({ type: "service.unready", service: service.name, reason });
    },
  });
  return await watching.then(() => never);
}

/** Ends the child's whole family and takes the rest of its output; true when SIGKILL was needed. */
async function endChild({ service, around, output, kill }: LifeOptions, child: Child, ownGrace: boolean): Promise<boolean> {
  const patience = new AbortController();
  const giveUp = () => patience.abort();
  kill.addEventListener("abort", giveUp, { once: true });
  if (kill.aborted) giveUp();
  const timer = ownGrace ? setTimeout(giveUp, service.stop.graceMs) : undefined;
  const beganMs = performance.now();
  const family = { pid: child.pid, marker: markerOf(around.instance, service.name), leaderExited: child.exited };
  const { killed, left } = await endFamily(family, { signal: service.stop.signal, kill: patience.signal });
  clearTimeout(timer);
  kill.removeEventListener("abort", giveUp);
  if (killed) around.bus.emit({ type: "service.killed", service: service.name, afterMs: performance.now() - beganMs });
  if (left.length > 0) around.warn(`Cannot end ${service.name}: process ${left.join(", ")} survives SIGKILL.`);
  const late = new AbortController();
  await Promise.race([child.drained, pause(drainMs, { signal: late.signal })]);
  late.abort();
  child.closeOutput();
  await output.endChild();
  removePidFile(service.pidFile);
  around.guardian.remove(child.pid);
  return killed;
}

function identityOf(service: Service, { isRoot, warn }: Surroundings): Identity | string | undefined {
  if (service.user === undefined) return undefined;
  if (isRoot) return resolveUser(service.user);
  warn(`Cannot run ${service.name} as ${service.user}: fettle is not root.`, "It runs as the same user as fettle.");
  return undefined;
}

function spawnOptions(service: Service, around: Surroundings, identity: Identity | undefined): Omit<ChildOptions, "argv" | "onOutput"> {
  return {
    env: serviceEnv(around.env, service, around.instance, identity),
    ...(service.cwd !== undefined && { cwd: service.cwd }),
    ...(identity && { identity }),
  };
}

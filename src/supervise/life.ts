import { closeSync } from "node:fs";
import type { Ending } from "../events/event.ts";
import type { Service } from "../plan/plan.ts";
import type { Check } from "../probes/check.ts";
import { createCheck, type ProbeSurroundings as Ask } from "../probes/create-check.ts";
import { untilUnresponsive } from "../probes/liveness.ts";
import { notifyCheck } from "../probes/notify.ts";
import { waitUntilReady, watchReadiness } from "../probes/probe.ts";
import { atMost } from "../util/at-most.ts";
import { pause } from "../util/pause.ts";
import { type Child, type ChildOptions, spawnChild } from "./child.ts";
import { endFamily } from "./end-family.ts";
import { serviceEnv } from "./environment.ts";
import { adjust, limitedArgv } from "./limits.ts";
import type { Output } from "./output.ts";
import { removePidFile, writePidFile } from "./pid-file.ts";
import { commandRunner } from "./run-command.ts";
import { type ServiceState, unseen } from "./service-state.ts";
import { markerOf, type Surroundings } from "./surroundings.ts";
import { type Identity, resolveUser } from "./user.ts";

/** How one child's life ended. `readyMs`: how long it had been ready in all, 0 = never. */
export type LifeEnd =
  | { readonly type: "spawn-failed"; readonly reason: string; readonly permanent: boolean }
  | { readonly type: "too-late"; readonly ending: Ending; readonly reason: string }
  /** It did not answer its liveness probe any more. */
  | { readonly type: "hung"; readonly ending: Ending; readonly readyMs: number; readonly reason: string }
  | { readonly type: "exited"; readonly ending: Ending; readonly readyMs: number }
  /** Not even SIGKILL ended it, or its end cannot be seen: it is stuck in the kernel, or frozen. */
  | { readonly type: "stuck"; readonly ending: Ending; readonly reason: string }
  | { readonly type: "stopped"; readonly ending: Ending; readonly killed: boolean; readonly stuck: boolean };

export interface LifeOptions {
  readonly service: Service;
  readonly around: Surroundings;
  readonly output: Output;
  readonly restarts: number;
  /** Aborts when the child shall stop. */
  readonly stop: AbortSignal;
  /** Aborts when its grace is over. */
  readonly kill: AbortSignal;
  /** Aborts when there is no time to wait for what SIGKILL does. */
  readonly over: AbortSignal;
  set(state: ServiceState): void;
  /** A new child is about to start; its output can be listened to. */
  onChild(): void;
}

/** After the child is gone its output may be held open by somebody who got away; not longer than this. */
const drainMs = 1000;
const flushMs = 5000;
/** A dead child's end is seen within milliseconds. */
const vanishMs = 2000;

/** One child from spawn to the last trace of it: probing, its end, the end of its family, its output. */
export async function runLife(options: LifeOptions): Promise<LifeEnd> {
  const { service, around, output, set, stop } = options;
  const { bus } = around;
  set({ id: "starting" });
  bus.emit({ type: "service.starting", service: service.name, argv: service.argv, ...(service.announce !== undefined && { announce: service.announce }) });
  const identity = identityOf(service, around);
  if (typeof identity === "string") return { type: "spawn-failed", reason: identity, permanent: true };
  output.beginChild();
  options.onChild();
  const notify = service.readiness?.type === "fd" ? notifyCheck() : undefined;
  const outputFd = output.openDirect();
  const spawned = await spawnChild({
    ...spawnOptions(service, around, identity),
    argv: limitedArgv(service),
    ...(outputFd !== undefined && { outputFd }),
    ...(notify && { onNotify: notify.feed }),
    onOutput: (stream, chunk) => output.push(stream, chunk),
  });
  if (outputFd !== undefined) closeSync(outputFd);
  if (spawned.type === "spawn-failed") return spawned;
  const { child } = spawned;
  const spawnedMs = performance.now();
  const unadjusted = adjust(child.pid, service);
  if (unadjusted !== undefined) around.warn(`Cannot adjust ${service.name}: ${unadjusted}.`);
  around.guardian.add(child.pid, service.pidFile);
  around.record.add(child.pid, service.pidFile);
  const trouble = writePidFile(service.pidFile, child.pid);
  if (trouble !== undefined) around.warn(`Cannot write ${service.pidFile}: ${trouble}.`);
  bus.emit({ type: "service.spawned", service: service.name, pid: child.pid, restarts: options.restarts });
  set({ id: "starting", child });

  const probing = new AbortController();
  let readySinceMs: number | undefined;
  const hung = Promise.withResolvers<{ readonly type: "hung"; readonly reason: string }>();
  const ask: Ask = {
    run: commandRunner(() => spawnOptions(service, around, identity)),
    onLines: (feed) => output.listen(feed),
    ...(notify && { notified: notify.check }),
  };
  const probe = watch(options, { child, spawnedMs }, ask, probing.signal, () => {
    if (readySinceMs === undefined && service.liveness)
      void untilUnresponsive(createCheck(service.liveness, ask), service.liveness, { signal: probing.signal }).then((reason) => {
        if (reason !== undefined) hung.resolve({ type: "hung", reason: `it does not answer any more: ${reason}` });
      });
    readySinceMs ??= performance.now();
    bus.emit({ type: "service.ready", service: service.name, afterMs: performance.now() - spawnedMs });
    set({ id: "ready", child, sinceMs: readySinceMs });
  });
  const stopped = Promise.withResolvers<{ type: "stop" }>();
  const onStop = () => stopped.resolve({ type: "stop" });
  stop.addEventListener("abort", onStop, { once: true });
  if (stop.aborted) onStop();
  const first = await Promise.race([child.exited.then((ending) => ({ type: "exited", ending }) as const), stopped.promise, probe, hung.promise]);
  stop.removeEventListener("abort", onStop);
  const readyMs = readySinceMs === undefined ? 0 : performance.now() - readySinceMs;
  probing.abort();

  if (first.type === "too-late" || first.type === "hung") bus.emit({ type: "service.failed", service: service.name, reason: first.reason });
  if (first.type === "stop") set({ id: "stopping", child });
  if (first.type !== "exited") bus.emit({ type: "service.stopping", service: service.name, signal: service.stop.signal });
  const { killed, survivors } = await endChild(options, child, first.type !== "stop");
  const ending = survivors.length > 0 ? unseen : await child.exited;
  bus.emit({ type: "service.exited", service: service.name, ending, wanted: first.type === "stop", lastLines: output.lastLines });
  if (first.type === "stop") return { type: "stopped", ending, killed, stuck: survivors.length > 0 };
  // A second copy beside the first would fight it for its port and its GPU.
  if (survivors.length > 0) return { type: "stuck", ending, reason: describeSurvivors(survivors) };
  if (first.type === "hung") return { type: "hung", ending, readyMs, reason: first.reason };
  return first.type === "too-late" ? { type: "too-late", ending, reason: first.reason } : { type: "exited", ending, readyMs };
}

/** Resolves only when the child was not ready in time. */
async function watch(
  { service, around, set }: LifeOptions,
  { child, spawnedMs }: { readonly child: Child; readonly spawnedMs: number },
  ask: Ask,
  signal: AbortSignal,
  onReady: () => void,
): Promise<{ type: "too-late"; reason: string }> {
  const { readiness } = service;
  const { bus } = around;
  const never = new Promise<never>(() => undefined);
  if (!readiness) {
    if (service.role !== "task") onReady();
    else if (service.timeLimitMs !== undefined && (await isOver(service.timeLimitMs, signal)))
      return { type: "too-late", reason: `it was not done after ${service.timeLimitMs / 1000} s` };
    return never;
  }
  const asked = createCheck(readiness, ask);
  let isListening = readiness.type !== "http";
  const check: Check = async (options) => {
    const result = await asked(options);
    if (!isListening && !signal.aborted && (result.ok || result.listening)) {
      isListening = true;
      bus.emit({ type: "service.listening", service: service.name, afterMs: performance.now() - spawnedMs });
    }
    return result;
  };
  const outcome = await waitUntilReady(check, readiness, {
    signal,
    onWaiting: (tries, reason) => bus.emit({ type: "service.waiting", service: service.name, tries, reason }),
  });
  if (outcome.type === "too-late") return { type: "too-late", reason: `it was not ready after ${readiness.startupMs / 1000} s: ${outcome.reason}` };
  if (outcome.type === "aborted") return never;
  onReady();
  if (readiness.type === "log-line" || readiness.type === "fd") return never;
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

async function isOver(limitMs: number, signal: AbortSignal): Promise<boolean> {
  await pause(limitMs, { signal });
  return !signal.aborted;
}

interface Ended {
  /** SIGKILL was needed. */
  readonly killed: boolean;
  /** Processes that it did not end, in time at least. */
  readonly survivors: readonly number[];
}

const describeSurvivors = (pids: readonly number[]): string => `process ${pids.join(", ")} survives SIGKILL`;

/** Ends the child's whole family and takes the rest of its output. */
async function endChild({ service, around, output, kill, over }: LifeOptions, child: Child, ownGrace: boolean): Promise<Ended> {
  const patience = new AbortController();
  const giveUp = () => patience.abort();
  kill.addEventListener("abort", giveUp, { once: true });
  if (kill.aborted) giveUp();
  const timer = ownGrace ? setTimeout(giveUp, service.stop.graceMs) : undefined;
  const beganMs = performance.now();
  const family = { pid: child.pid, marker: markerOf(around.instance, service.name), leaderExited: child.exited };
  const { killed, left } = await endFamily(family, { signal: service.stop.signal, kill: patience.signal, over });
  // A dead process that its tracer holds back cannot be seen to have ended.
  const isSeen = left.length > 0 || (await atMost(vanishMs, child.exited, { signal: over })) !== undefined;
  const survivors = isSeen ? left : [child.pid];
  clearTimeout(timer);
  kill.removeEventListener("abort", giveUp);
  if (killed) around.bus.emit({ type: "service.killed", service: service.name, afterMs: performance.now() - beganMs });
  if (survivors.length > 0) around.warn(`Cannot end ${service.name}: ${describeSurvivors(survivors)}.`);
  await atMost(drainMs, child.drained);
  child.closeOutput();
  if (survivors.length > 0) child.forget();
  // Only a log on a dead volume takes so long; nobody waits for that one.
  await atMost(flushMs, output.endChild(), { signal: over });
  removePidFile(service.pidFile);
  around.guardian.remove(child.pid);
  around.record.remove(child.pid);
  return { killed, survivors };
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

import type { Engine } from "../engines/engine.ts";
import { reasonOf } from "../errors/fettle-error.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { pause } from "../util/pause.ts";
import { showUrl } from "../util/show-url.ts";
import type { Pool } from "./pool.ts";

interface Member {
  readonly engine: Engine;
  readonly planned: PlannedEngine;
  /** The supervisor's word on the service behind it; always true for an engine of somebody else. */
  up: boolean;
  /** Nobody has seen it answer since it came up or since an attempt on it broke off: ask before the next job. */
  doubted: boolean;
  /** A former life of this worker, or a connection that broke, may have left a job running on it. */
  unsettled: boolean;
  /** A fresh process that was not warmed up yet. */
  cold: boolean;
  asking: boolean;
  /** What was said of it last. */
  told: boolean | undefined;
  /** Raised by each restart and each new process: what happened in a former life of the engine asks for no further restart. */
  life: number;
}

export interface ReadinessParts {
  readonly pool: Pool;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly emit: (event: FettleEvent) => void;
  /** Asks the supervisor to restart a service; left out: nobody can. */
  readonly restartService?: (service: string, options: { signal: AbortSignal }) => Promise<unknown>;
  /** A doubted engine that answers nothing for this long is restarted. */
  readonly unreactiveMs: number;
}

/**
 * Tells the pool which engines are ready: those with a service follow the supervisor's events, the others are asked
 * until they answer. A broken attempt casts doubt on an engine before any event can arrive. An engine that cannot be trusted any
 * more, or does not come out of its doubt, is restarted by the supervisor; its jobs run again on a ready one.
 */
export class Readiness {
  readonly #members = new Map<string, Member>();
  readonly #parts: ReadinessParts;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
  }

  /** `ready` is what the supervisor's snapshot says of the service; `unsettled` engines are settled before their first job. */
  add(engine: Engine, planned: PlannedEngine, { ready, unsettled }: { ready: boolean; unsettled: boolean }): void {
    const external = planned.service === undefined;
    const member: Member = {
      engine,
      planned,
      up: external || ready,
      doubted: external,
      unsettled,
      cold: engine.warmUp !== undefined,
      asking: false,
      told: undefined,
      life: 0,
    };
    this.#members.set(engine.name, member);
    this.#parts.pool.add(engine);
    this.#update(member);
  }

  observe(event: StampedEvent): void {
    if (!("service" in event)) return;
    for (const member of this.#members.values()) {
      if (member.planned.service !== event.service) continue;
      if (event.type === "service.ready") {
        member.up = true;
        member.doubted = false;
      } else if (event.type === "service.spawned") {
        // A fresh process has nothing of ours, and nothing that happened before was its doing.
        member.unsettled = false;
        member.cold = member.engine.warmUp !== undefined;
        member.life += 1;
      } else if (event.type === "service.unready" || event.type === "service.exited" || event.type === "service.stopping") member.up = false;
      else continue;
      this.#update(member);
    }
  }

  /** What the supervisor says now, after its events were not followed for a while. */
  resume(engines: readonly { readonly name: string; readonly ready: boolean }[]): void {
    for (const { name, ready } of engines) {
      const member = this.#members.get(name);
      if (!member || member.planned.service === undefined) continue;
      member.up = ready;
      this.#update(member);
    }
  }

  /** An attempt on it broke off: no further job until it has answered again and let go of what it may still be doing. */
  doubt(name: string): void {
    const member = this.#members.get(name);
    if (!member) return;
    member.doubted = true;
    member.unsettled = true;
    this.#update(member);
  }

  /** Names the engine's present life, for `restart`. */
  lifeOf(name: string): number {
    return this.#members.get(name)?.life ?? 0;
  }

  /**
   * Takes the engine out of use at once and has its service restarted; it comes back with the supervisor's word that it is ready.
   * Called for several jobs of one life it is one restart. False: it has no service, so it can only be doubted.
   */
  restart(name: string, { life, cause }: { life: number; cause: string }): boolean {
    const member = this.#members.get(name);
    const service = member?.planned.service;
    const { restartService, signal, log, emit } = this.#parts;
    if (!member || service === undefined || !restartService) {
      this.doubt(name);
      return false;
    }
    if (member.life !== life) return true;
    member.life += 1;
    member.up = false;
    member.unsettled = false;
    this.#update(member);
    emit({ type: "worker.restarts-engine", engine: name, cause });
    void restartService(service, { signal }).catch((error: unknown) => {
      if (signal.aborted) return;
      log.warn(`Cannot restart ${service}: ${reasonOf(error)}.`);
      // As it was: the next job may find it better, or ask again.
      member.up = true;
      this.doubt(name);
    });
    return true;
  }

  #update(member: Member): void {
    const needsAsking = member.up && (member.doubted || member.unsettled || member.cold);
    const ready = member.up && !needsAsking;
    if (ready !== member.told) this.#parts.emit({ type: "worker.engine", engine: member.engine.name, ready });
    member.told = ready;
    this.#parts.pool.setReady(member.engine.name, ready);
    if (needsAsking && !member.asking) void this.#ask(member);
  }

  async #ask(member: Member): Promise<void> {
    const { engine, planned } = member;
    const { periodMs, logEvery } = planned.readiness;
    member.asking = true;
    const sinceMs = performance.now();
    for (let tries = 1; member.up && (member.doubted || member.unsettled || member.cold) && !this.#parts.signal.aborted; tries++) {
      if (await this.#answers(member)) {
        member.doubted = false;
        if (await this.#settled(member)) {
          if (member.up && member.cold) await this.#warmUp(member);
          break;
        }
      } else if (performance.now() - sinceMs > this.#parts.unreactiveMs && planned.service !== undefined) {
        // Its supervisor calls it ready, and it answers nothing.
        this.restart(engine.name, { life: member.life, cause: `it did not answer for ${Math.round(this.#parts.unreactiveMs / 1000)} s` });
        break;
      }
      if (logEvery > 0 && tries % logEvery === 0) this.#parts.log.info(`Engine ${engine.name} at ${showUrl(planned.url)} is not ready after ${tries} tries.`);
      await pause(periodMs, { signal: this.#parts.signal });
    }
    member.asking = false;
    if (!this.#parts.signal.aborted) this.#update(member);
  }

  /** Ends what a former life may have left on it. False: it is being restarted, or must be asked again. */
  async #settled(member: Member): Promise<boolean> {
    const { engine } = member;
    const { pool, signal, log } = this.#parts;
    // Never under somebody else's job: an interrupt may hit whatever runs.
    if (!member.unsettled || !pool.isIdle(engine.name)) {
      member.unsettled = false;
      return true;
    }
    const { life } = member;
    try {
      await engine.settle({ signal });
      if (member.life === life) member.unsettled = false;
      return true;
    } catch (error) {
      if (signal.aborted || member.life !== life) return true;
      log.warn(`Cannot settle ${engine.name}: ${reasonOf(error)}.`);
      return this.restart(engine.name, { life, cause: "it goes on with a job that nobody waits for" });
    }
  }

  /** Once for each life of the engine. One that cannot be warmed up takes jobs all the same. */
  async #warmUp(member: Member): Promise<void> {
    const { engine, life } = member;
    const { signal, log } = this.#parts;
    const sinceMs = performance.now();
    try {
      await engine.warmUp?.({ signal });
      log.info(`Engine ${engine.name} was warmed up in ${((performance.now() - sinceMs) / 1000).toFixed(1)} s.`);
    } catch (error) {
      if (signal.aborted) return;
      log.warn(`Cannot warm up ${engine.name}, it takes jobs all the same: ${reasonOf(error)}.`);
    }
    if (member.life === life) member.cold = false;
  }

  async #answers({ engine, planned }: Member): Promise<boolean> {
    const limit = AbortSignal.timeout(planned.readiness.timeoutMs);
    try {
      return await engine.isReady({ signal: AbortSignal.any([limit, this.#parts.signal]) });
    } catch {
      return false;
    }
  }
}

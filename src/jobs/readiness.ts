import type { Engine } from "../engines/engine.ts";
import type { StampedEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { pause } from "../util/pause.ts";
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
  asking: boolean;
}

/**
 * Tells the pool which engines are ready: those with a service follow the supervisor's events, the others are asked
 * until they answer. A broken attempt casts doubt on an engine before any event can arrive.
 */
export class Readiness {
  readonly #members = new Map<string, Member>();
  readonly #pool: Pool;
  readonly #log: Log;
  readonly #signal: AbortSignal;

  constructor({ pool, log, signal }: { pool: Pool; log: Log; signal: AbortSignal }) {
    this.#pool = pool;
    this.#log = log;
    this.#signal = signal;
  }

  /** `ready` is what the supervisor's snapshot says of the service; `unsettled` engines are settled before their first job. */
  add(engine: Engine, planned: PlannedEngine, { ready, unsettled }: { ready: boolean; unsettled: boolean }): void {
    const external = planned.service === undefined;
    const member: Member = { engine, planned, up: external || ready, doubted: external, unsettled, asking: false };
    this.#members.set(engine.name, member);
    this.#pool.add(engine);
    this.#update(member);
  }

  observe(event: StampedEvent): void {
    if (!("service" in event)) return;
    for (const member of this.#members.values()) {
      if (member.planned.service !== event.service) continue;
      if (event.type === "service.ready") {
        member.up = true;
        member.doubted = false;
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

  #update(member: Member): void {
    const needsAsking = member.up && (member.doubted || member.unsettled);
    this.#pool.setReady(member.engine.name, member.up && !needsAsking);
    if (needsAsking && !member.asking) void this.#ask(member);
  }

  async #ask(member: Member): Promise<void> {
    const { engine, planned } = member;
    const { periodMs, logEvery } = planned.readiness;
    member.asking = true;
    for (let tries = 1; member.up && (member.doubted || member.unsettled) && !this.#signal.aborted; tries++) {
      if (await this.#answers(member)) {
        member.doubted = false;
        // Never under somebody else's job: an interrupt may hit whatever runs.
        if (member.unsettled && this.#pool.isIdle(engine.name))
          await engine.settle({ signal: this.#signal }).catch((error: unknown) => this.#log.warn(`Cannot settle ${engine.name}: ${String(error)}.`));
        member.unsettled = false;
        break;
      }
      if (logEvery > 0 && tries % logEvery === 0) this.#log.info(`Engine ${engine.name} at ${planned.url} is not ready after ${tries} tries.`);
      await pause(periodMs, { signal: this.#signal });
    }
    member.asking = false;
    if (!this.#signal.aborted) this.#update(member);
  }

  async #answers({ engine, planned }: Member): Promise<boolean> {
    const limit = AbortSignal.timeout(planned.readiness.timeoutMs);
    try {
      return await engine.isReady({ signal: AbortSignal.any([limit, this.#signal]) });
    } catch {
      return false;
    }
  }
}

import { isDeepStrictEqual } from "node:util";
import type { Dependency, Service } from "../plan/plan.ts";
import { pause } from "../util/pause.ts";
import { createComplaints } from "./complaints.ts";
import { type Depended, describeWait, isMet, whyNever } from "./dependencies.ts";
import { tell } from "./end-family.ts";
import { type LifeEnd, runLife } from "./life.ts";
import { Output } from "./output.ts";
import { RestartRecord } from "./restart.ts";
import { describeEnding, type ServiceState } from "./service-state.ts";
import { signalNumber } from "./signals.ts";
import type { Surroundings } from "./surroundings.ts";

export interface StopOptions {
  /** Given when everything stops: ms from now (its own grace counts when that is shorter), and no restart under way starts it again. */
  readonly budgetMs?: number;
  /** It is started again right after; its dependants wait on, as they do when it crashes. */
  readonly comesBack?: boolean;
}

/** `cutShort`: it had to be killed, and sooner than its own grace allows, or could not be ended at all. */
export interface StopOutcome {
  readonly killed: boolean;
  readonly cutShort: boolean;
}

interface Run {
  readonly stop: AbortController;
  readonly kill: AbortController;
  readonly over: AbortController;
  readonly done: Promise<void>;
}

/** One declared service through all its children: waits for its dependencies, starts, restarts by the rule, stops. Diagram: service-state.ts. */
export class SupervisedService implements Depended {
  #spec: Service;
  #output: Output;
  readonly #around: Surroundings;
  readonly #find: (name: string) => SupervisedService | undefined;
  #record: RestartRecord;
  /** What dependants wait for in its output, since it was last asked to start. */
  readonly #lines = new Map<string, { readonly expression: RegExp; seen: boolean }>();
  #state: ServiceState = { id: "waiting", reason: "not started yet" };
  #run: Run | undefined;
  #restarting: Promise<void> | undefined;
  #hasStarted = false;
  #hasSettled = false;
  /** The dependencies that order the first start have held. */
  #hasBegun = false;
  #killed = false;
  #isStuck = false;
  #isClosed = false;
  #comesBack = false;
  #restarts = 0;
  #changed = Promise.withResolvers<void>();

  constructor(spec: Service, around: Surroundings, find: (name: string) => SupervisedService | undefined) {
    this.#spec = spec;
    this.#around = around;
    this.#find = find;
    this.#record = new RestartRecord(spec.restart);
    this.#output = openOutput(spec, around);
  }

  get spec(): Service {
    return this.#spec;
  }

  get output(): Output {
    return this.#output;
  }

  /** Goes by another declaration from now on. What concerns the child itself must not differ while one runs. */
  async adopt(spec: Service): Promise<void> {
    const former = this.#spec;
    this.#spec = spec;
    if (!isDeepStrictEqual(former.restart, spec.restart)) this.#record = new RestartRecord(spec.restart);
    if (former.logFile !== spec.logFile || former.console !== spec.console || former.directLog !== spec.directLog) {
      const old = this.#output;
      this.#output = openOutput(spec, this.#around);
      await old.close();
    }
    this.#tell();
  }

  get name(): string {
    return this.spec.name;
  }

  get isTask(): boolean {
    return this.spec.role === "task";
  }

  get state(): ServiceState {
    return this.#state;
  }

  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  get hasSettled(): boolean {
    return this.#hasSettled || (this.spec.background === true && this.#hasStarted);
  }

  /** It has ended, or was given up, and does not start again by itself. */
  get isOver(): boolean {
    return this.#state.id === "crash-looping" || (this.#state.id === "exited" && !this.#state.wanted);
  }

  get comesBack(): boolean {
    return this.#comesBack;
  }

  /** Somebody waits for a line of its output that matches. */
  expectLine(pattern: string): void {
    if (!this.#lines.has(pattern)) this.#lines.set(pattern, { expression: new RegExp(pattern), seen: false });
  }

  hasSaid(pattern: string): boolean {
    return this.#lines.get(pattern)?.seen === true;
  }

  #listen(): void {
    this.#listenForComplaints();
    if (this.#lines.size === 0) return;
    this.output.listen((line) => {
      const met = [...this.#lines.values()].filter(({ seen, expression }) => !seen && expression.test(line));
      for (const one of met) one.seen = true;
      if (met.length > 0) this.#tell();
    });
  }

  #listenForComplaints(): void {
    const { complaints } = this.spec;
    if (!complaints || complaints.length === 0) return;
    const find = createComplaints(complaints);
    this.output.listen((line) => {
      const found = find(line);
      if (found) this.#around.bus.emit({ type: "service.complained", service: this.name, ...found });
    });
  }

  /** Begins to run; does nothing while it runs already. */
  start(): void {
    this.#comesBack = false;
    if (this.#run || this.#isClosed) return;
    const stop = new AbortController();
    const kill = new AbortController();
    const over = new AbortController();
    this.#hasStarted = false;
    this.#hasSettled = false;
    for (const line of this.#lines.values()) line.seen = false;
    this.#killed = false;
    this.#isStuck = false;
    this.#record.reset();
    const done = this.#live({ stop: stop.signal, kill: kill.signal, over: over.signal }).finally(() => {
      this.#run = undefined;
    });
    this.#run = { stop, kill, over, done };
  }

  /** Ends the child and its family, or calls off what it waits for. Resolves when nobody is left. */
  async stop({ budgetMs = Number.POSITIVE_INFINITY, comesBack = false }: StopOptions = {}): Promise<StopOutcome> {
    if (Number.isFinite(budgetMs)) this.#isClosed = true;
    this.#comesBack = comesBack;
    const run = this.#run;
    if (!run) return { killed: false, cutShort: false };
    const { graceMs } = this.spec.stop;
    const timers = [
      setTimeout(() => run.kill.abort(), Math.max(0, Math.min(budgetMs - vanishReserve(budgetMs), graceMs))),
      ...(Number.isFinite(budgetMs) ? [setTimeout(() => run.over.abort(), Math.max(minVanishMs, budgetMs))] : []),
    ];
    const beganMs = performance.now();
    run.stop.abort();
    await run.done;
    for (const timer of timers) clearTimeout(timer);
    return { killed: this.#killed, cutShort: this.#isStuck || (this.#killed && performance.now() - beganMs < graceMs) };
  }

  /** No more patience: SIGKILL to whatever is being stopped. */
  kill(): void {
    this.#run?.kill.abort();
  }

  /** Less patience: its signal once more, and SIGKILL after so long. */
  hasten(ms: number): void {
    const tellAgain = () => {
      if ("child" in this.#state && this.#state.child) tell(this.#state.child.pid, this.spec.stop.signal);
    };
    tellAgain();
    // A signal that comes before the first one was taken is one with it.
    for (const atMs of [0.1, 0.2, 0.3]) setTimeout(tellAgain, ms * atMs).unref();
    setTimeout(() => this.kill(), ms).unref();
  }

  /** Stops and starts again; several at once are one. */
  restart(): Promise<void> {
    this.#restarting ??= this.#stopAndStart().finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  async #stopAndStart(): Promise<void> {
    await this.stop({ comesBack: true });
    if (this.#hasStarted) this.#restarts++;
    this.start();
  }

  /** Resolves at the next change of state. */
  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  #set(state: ServiceState): void {
    this.#state = state;
    if ("child" in state && state.child) this.#hasStarted = true;
    if (state.id === "ready" || state.id === "backing-off" || state.id === "exited" || state.id === "crash-looping") this.#hasSettled = true;
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
    this.#around.changed();
  }

  async #live({ stop, kill, over }: Readonly<Record<"stop" | "kill" | "over", AbortSignal>>): Promise<void> {
    if (await this.#dependenciesHold(stop)) {
      while (!stop.aborted) {
        const end = await runLife({
          service: this.spec,
          around: this.#around,
          output: this.output,
          restarts: this.#restarts,
          stop,
          kill,
          over,
          set: (state) => this.#set(state),
          onChild: () => this.#listen(),
        });
        if (end.type === "stopped") {
          this.#killed = end.killed;
          this.#isStuck = end.stuck;
          return this.#stopped(end);
        }
        const delayMs = this.#afterEnd(end);
        if (delayMs === undefined) return;
        await pause(delayMs, { signal: stop });
        if (!stop.aborted) this.#restarts++;
      }
    }
    this.#stopped();
  }

  #stopped(end?: LifeEnd & { type: "stopped" }): void {
    this.#set({ id: "exited", wanted: true, ...(end && { ending: end.ending }) });
    this.#around.bus.emit({ type: "service.stopped", service: this.name });
  }

  /** The delay before the next start, or undefined when this was the last. */
  #afterEnd(end: Exclude<LifeEnd, { type: "stopped" }>): number | undefined {
    const { bus } = this.#around;
    const { policy } = this.spec.restart;
    const ending = end.type === "spawn-failed" ? undefined : end.ending;
    const reason = end.type === "exited" ? describeEnding(end.ending) : end.reason;
    const succeeded = end.type === "exited" && end.ending.code === 0;
    if (end.type === "spawn-failed") bus.emit({ type: "service.failed", service: this.name, reason });
    const isOver =
      (succeeded && (this.isTask || policy === "on-failure")) || policy === "never" || end.type === "stuck" || (end.type === "spawn-failed" && end.permanent);
    if (isOver) {
      this.#set({ id: "exited", wanted: false, ...(ending && { ending }), ...(end.type !== "exited" && { reason }) });
      return this.#over(end, reason);
    }
    const verdict = this.#record.failed(performance.now(), "readyMs" in end ? end.readyMs : 0);
    if (verdict.type === "crash-loop") {
      this.#set({ id: "crash-looping", restarts: verdict.restarts, reason, ...(ending && { ending }) });
      bus.emit({ type: "service.crash-looping", service: this.name, restarts: verdict.restarts, lastLines: this.output.lastLines });
      return this.#over(end, reason);
    }
    this.#set({ id: "backing-off", delayMs: verdict.delayMs, restarts: verdict.restarts });
    bus.emit({ type: "service.backing-off", service: this.name, delayMs: verdict.delayMs, restarts: verdict.restarts });
    return verdict.delayMs;
  }

  #over(end: Exclude<LifeEnd, { type: "stopped" }>, reason: string): undefined {
    const exitCode = exitCodeOf(end);
    const succeeded = end.type === "exited" && exitCode === 0;
    if (!succeeded) this.#around.bus.emit({ type: "service.given-up", service: this.name, reason });
    if (this.spec.essential && !(this.isTask && succeeded)) this.#around.essentialEnded(this.name, exitCode, reason);
    return undefined;
  }

  async #dependenciesHold(stop: AbortSignal): Promise<boolean> {
    const aborted = Promise.withResolvers<void>();
    stop.addEventListener("abort", () => aborted.resolve(), { once: true });
    let told: string | undefined;
    while (!stop.aborted) {
      // Once the order of phases has let it begin, nothing that a reload adds to a former phase holds it up again.
      const order = this.#open(this.spec.dependsOn.filter(({ startOnly }) => startOnly));
      if (order.length === 0 && this.spec.dependsOn.some(({ startOnly }) => startOnly)) this.#hasBegun = true;
      const open = [...this.#open(this.spec.dependsOn.filter(({ startOnly }) => !startOnly)), ...(this.#hasBegun ? [] : order)];
      if (open.length === 0) {
        this.#hasBegun = true;
        return true;
      }
      const never = open
        .filter(({ dependency }) => !dependency.startOnly)
        .map(({ other, dependency }) => whyNever(other, dependency))
        .find((why) => why !== undefined);
      if (never !== undefined) this.#hasSettled = true;
      const [first] = open;
      const reason = never ?? (first ? describeWait(first.other, first.dependency) : "");
      if (this.#state.id !== "waiting") this.#around.bus.emit({ type: "service.pending", service: this.name, reason });
      if (this.#state.id !== "waiting" || this.#state.reason !== reason) this.#set({ id: "waiting", reason });
      if (never !== undefined && never !== told) this.#around.bus.emit({ type: "service.failed", service: this.name, reason: never });
      told = never;
      await Promise.race([aborted.promise, this.changed, ...open.map(({ other }) => other.changed)]);
    }
    return false;
  }

  /** Those that do not hold yet. */
  #open(dependencies: readonly Dependency[]): { readonly other: SupervisedService; readonly dependency: Dependency }[] {
    return dependencies.flatMap((dependency) => {
      const other = this.#find(dependency.service);
      return other && !isMet(other, dependency) ? [{ other, dependency }] : [];
    });
  }
}

/** Kept of a budget for what SIGKILL needs: a process with much memory, or a GPU, takes a moment to vanish. */
const vanishReserve = (budgetMs: number): number => (Number.isFinite(budgetMs) ? Math.max(0, Math.min(500, budgetMs / 8)) : 0);
const minVanishMs = 300;

function openOutput(spec: Service, around: Surroundings): Output {
  return new Output({
    logFile: spec.logFile,
    direct: spec.directLog,
    files: around.logFiles,
    mask: around.mask,
    onLine: spec.console ? (line) => around.mirror(spec.name, line) : undefined,
    onTrouble: (reason) => around.warn(`Cannot write ${spec.logFile}: ${reason}.`, "The service goes on; its lines are on the console only."),
  });
}

/** What the container's exit code is when this end was the end of everything: 3 when it could not even start. */
function exitCodeOf(end: Exclude<LifeEnd, { type: "stopped" }>): number {
  if (end.type === "spawn-failed") return 3;
  if (end.type === "too-late" || end.type === "hung" || end.type === "stuck") return 1;
  return end.ending.code ?? 128 + signalNumber(end.ending.signal);
}

// worker/ owns the second process of `fettle start`: it connects sources, engines and the journal, and ends in order.
// Takes: settings and readiness from the supervisor's control socket. Gives: its own events back over it.
// Must not know how services are run. What a job goes through is in jobs/; here is only who is connected with whom.
import { readdirSync, rmSync } from "node:fs";
import type { RunpodFitnessConfig } from "../config/schema/sources.ts";
import type { ControlClient } from "../control/client.ts";
import type { Snapshot, WorkerSettings } from "../control/protocol.ts";
import type { Engine } from "../engines/engine.ts";
import { EventBus } from "../events/bus.ts";
import type { FettleEvent, StampedEvent } from "../events/event.ts";
import { EnginePulse } from "../jobs/engine-pulse.ts";
import { Finisher } from "../jobs/finisher.ts";
import { JobFeed } from "../jobs/job-feed.ts";
import { prepareJournalPlace } from "../jobs/journal-place.ts";
import { Journal, type JournalRow } from "../jobs/journal.ts";
import { Pool } from "../jobs/pool.ts";
import { Readiness } from "../jobs/readiness.ts";
import { createPreparer } from "../jobs/prepare/create-prepare.ts";
import { createTemplateBook, templateSettingsOf } from "../jobs/prepare/templates.ts";
import type { OutputStep } from "../jobs/run-job.ts";
import { SourceLoop } from "../jobs/source-loop.ts";
import type { Source } from "../jobs/source.ts";
import type { JobDesk } from "../jobs/sources/http.ts";
import type { CheckFitness, Unfit } from "../jobs/sources/runpod-fitness.ts";
import { createSources } from "../jobs/sources/index.ts";
import type { Log } from "../log/log.ts";
import type { PlannedEngine } from "../plan/plan.ts";
import { pause } from "../util/pause.ts";
import { planDrain } from "./drain.ts";
import { followSupervisor } from "./follow-supervisor.ts";
import { logJobs } from "./job-log.ts";
import { createReporter } from "./reporter.ts";
import { serveJobs } from "./serve-jobs.ts";

export interface WorkerOptions {
  readonly control: ControlClient;
  readonly settings: WorkerSettings;
  readonly snapshot: Snapshot;
  readonly log: Log;
  /** Connects to an engine of the plan; does not wait for it. */
  readonly connect: (planned: PlannedEngine) => Engine;
  /** What each output goes through before it counts. */
  readonly steps: readonly OutputStep[];
  /** Looks whether this machine has what the limits ask for; left out in tests. */
  readonly checkFitness?: (limits: RunpodFitnessConfig, options: { signal: AbortSignal }) => Promise<Unfit | undefined>;
  /** Aborts on SIGTERM: drain. */
  readonly stop: AbortSignal;
}

type ServeConfig = NonNullable<WorkerSettings["sources"]["http"]>;

/** Runs until it is stopped, its file job has ended or the supervisor is gone; resolves with the exit code. */
export async function runWorker(options: WorkerOptions): Promise<number> {
  const { control, settings, snapshot, log } = options;
  const drain = planDrain(settings.stopBudgetMs);
  const onStop = () => drain.begin();
  let signals = options.stop.aborted ? 1 : 0;
  const onSignal = () => {
    if (++signals > 1) drain.hasten();
  };
  process.on("SIGTERM", onSignal);
  options.stop.addEventListener("abort", onStop, { once: true });
  if (options.stop.aborted) onStop();

  const bus = new EventBus({ keep: 100 });
  const emit = (event: FettleEvent) => void bus.emit(event);
  const reporter = createReporter(control, bus);
  bus.observe(logJobs(log, { milestones: Boolean(settings.sources.runpod?.endpointId) }));
  const feed = new JobFeed({ onReaders: (count) => log.debug(`Readers of /events: ${count}.`) });
  bus.observe(feed.observe);

  const place = prepareJournalPlace(settings.stateDir);
  if (place.warning) log.warn(`${place.warning.message} ${place.warning.hint}`);
  const journal = await Journal.open(place, { signal: options.stop, onWarning: (message) => log.warn(message) });
  const finisher = new Finisher({ journal, emit, keepMs: settings.jobs.keepResults });
  const recovered = recoverRows(journal, log);
  void finisher.sweep();

  const pool = new Pool();
  const life = new AbortController();
  const { retry, maxLosses, stall, loading, letGo, deadline } = settings.jobs;
  const readiness = new Readiness({
    pool,
    log,
    emit,
    signal: life.signal,
    restartService: (service, { signal }) => control.restart(service, { signal }),
    unreactiveMs: letGo * 3,
  });
  for (const planned of settings.engines) {
    const unsettled = recovered.some(({ engine }) => engine === planned.name);
    const ready = snapshot.engines.find(({ name }) => name === planned.name)?.ready ?? false;
    readiness.add(options.connect(planned), planned, { ready, unsettled });
  }

  const pulse = new EnginePulse({ engines: settings.engines, snapshot, pool });
  let exitCode = 0;
  const end = (code: number) => {
    exitCode = code;
    drain.begin();
  };
  // The worker is restarted when it ends by itself, whatever its code: only the supervisor can end the container.
  const endContainer = (code: number, reason: string) => {
    exitCode = code;
    log.info(`The container ends: ${reason}.`);
    void control
      .end({ exitCode: code, reason })
      .catch((error: unknown) => log.error(`Cannot ask the supervisor to end: ${String(error)}.`))
      .then(() => drain.begin());
  };
  const listen = async (desk: JobDesk) => await serveJobs(desk, { config: settings.sources.http as ServeConfig, feed, emit, exit: drain.exit });
  const preparer = createPreparer(
    { ...settings.jobs, jobBuckets: settings.results.jobBuckets },
    settings.engines.map(({ kind }) => kind),
    templateBook(settings.engines),
  );
  const sources = createSources({
    settings,
    check: preparer.check,
    journal,
    finisher,
    pool,
    log,
    emit,
    listen,
    end,
    endContainer,
    pulse,
    checkFitness: fitnessFor(options),
    feed,
    areEnginesDead: () => pulse.areAllGivenUp,
  });
  emit({ type: "worker.started", pid: process.pid, sources: sources.map(({ name }) => name) });
  const followers = {
    observe(event: StampedEvent) {
      readiness.observe(event);
      pulse.observe(event);
    },
    resume(now: Snapshot) {
      readiness.resume(now.engines);
      pulse.resume(now);
    },
  };
  const following = followSupervisor(control, snapshot.seq, followers, {
    signal: life.signal,
    onGone() {
      log.error("The supervisor is gone; this worker ends. Its jobs stay in the journal.");
      exitCode = 1;
      drain.cut();
    },
  });

  const parts = {
    prepare: preparer.prepare,
    fetchesInputs: preparer.fetches,
    journal,
    pool,
    readiness,
    finisher,
    log,
    emit,
    maxLosses,
    limits: { stallMs: stall, loadingMs: loading, letGoMs: letGo, deadlineMs: deadline },
    steps: options.steps,
    retry: { tries: retry.tries, backoffMs: retry.backoff },
  };
  const loops = sources.map(async (source) => {
    const rows = recovered.filter((row) => row.source === source.name);
    source.restore?.(rows);
    await openSource(source, { alone: sources.length === 1, log, signal: drain.stopping });
    const loop = new SourceLoop({ ...parts, source, stopping: drain.stopping, deadline: drain.deadline, exit: drain.exit });
    await loop.run(source.restore ? [] : rows);
  });
  warnOfForeignRows(recovered, sources, log);
  // Without an end of their own (HTTP, RunPod) loops end with the drain; a worker whose only file is done ends by itself.
  const ended =
    sources.length > 0 ? Promise.all(loops) : new Promise<void>((resolve) => drain.stopping.addEventListener("abort", () => resolve(), { once: true }));
  try {
    await Promise.race([ended, drain.over]);
  } finally {
    drain.cut();
    await within(
      1000,
      sources.map((source) => source.close()),
    );
    life.abort();
    pulse.close();
    await within(
      500,
      pool.engines.map((engine) => engine.close()),
    );
    await reporter.close();
    await following;
    finisher.close();
    journal.close();
    options.stop.removeEventListener("abort", onStop);
    process.off("SIGTERM", onSignal);
  }
  return exitCode;
}

function templateBook(engines: WorkerSettings["engines"]) {
  const templates = templateSettingsOf(engines);
  return templates && createTemplateBook(templates);
}

/** Once in a container's life: a worker that came back finds its engines' models in the memory that it would look for. */
function fitnessFor({ settings, snapshot, checkFitness }: WorkerOptions): CheckFitness | undefined {
  const limits = settings.sources.runpod?.fitness;
  const isFirst = !snapshot.services?.some(({ role, restarts }) => role === "worker" && restarts > 0);
  return limits?.enabled && isFirst && checkFitness ? (options) => checkFitness(limits, options) : undefined;
}

/** Waits for all of them, but not longer than that; what is late is left. */
async function within(limitMs: number, work: readonly Promise<unknown>[]): Promise<void> {
  const enough = new AbortController();
  await Promise.race([Promise.allSettled(work), pause(limitMs, { signal: enough.signal })]);
  enough.abort();
}

/** Rows of the former life, and no trace of what it had not finished writing. */
function recoverRows(journal: Journal, log: Log): readonly JournalRow[] {
  const { attemptsDir, resultsDir } = journal.place;
  for (const name of readdirSync(attemptsDir)) rmSync(`${attemptsDir}/${name}`, { recursive: true, force: true });
  const rows = journal.recover();
  const keys = journal.keys();
  for (const name of readdirSync(resultsDir)) {
    if (!keys.has(Number.parseInt(name, 10))) rmSync(`${resultsDir}/${name}`, { force: true });
  }
  if (rows.length > 0) log.info(`${rows.length} job${rows.length > 1 ? "s" : ""} of a former life of this worker: taken up again.`);
  return rows;
}

async function openSource(source: Source, { alone, log, signal }: { alone: boolean; log: Log; signal: AbortSignal }): Promise<void> {
  try {
    await source.open({ signal });
  } catch (error) {
    // One source that cannot open must not keep the jobs of another waiting.
    if (alone) throw error;
    log.error(String(error instanceof Error ? error.message : error));
  }
}

function warnOfForeignRows(rows: readonly JournalRow[], sources: readonly Source[], log: Log): void {
  const foreign = rows.filter((row) => !sources.some(({ name }) => name === row.source));
  if (foreign.length === 0) return;
  const names = [...new Set(foreign.map(({ source }) => source))].join(", ");
  log.warn(`${foreign.length} journalled job${foreign.length > 1 ? "s" : ""} of ${names} must wait: that source is off.`);
}

import { join } from "node:path";
import { connectControl } from "../src/control/client.ts";
import { connectorOf } from "../src/engines/index.ts";
import type { Attempt, ConnectOptions, Engine } from "../src/engines/engine.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { extendEngine } from "../src/jobs/extend-engine.ts";
import { isSecretName } from "../src/log/mask.ts";
import { createLog, type LogFormat, type LogLevel } from "../src/log/log.ts";
import type { WorkerSettings } from "../src/control/protocol.ts";
import type { PlannedEngine } from "../src/plan/plan.ts";
import { createAnswerReader } from "../src/results/answer-reader.ts";
import { createFinishStep } from "../src/results/finish/finish-step.ts";
import { openLibc } from "../src/supervise/init/libc.ts";
import { releaseCode } from "../src/supervise/init/release-code.ts";
import { runWorker, type WorkerOptions } from "../src/worker/worker.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "work",
  summary: "Take jobs and run them on the engines of the supervisor that started this process",
  flags: [],
  examples: ["FETTLE_CONTROL=/run/fettle/control.sock fettle work"],
  exits: ["1   the supervisor is gone, or the file job failed", "3   the state folder cannot be used"],
  async run(_args, { env, signal }) {
    const socket = env["FETTLE_CONTROL"];
    if (!socket)
      throw new FettleError("cli.bad-value", "Cannot run work: FETTLE_CONTROL does not name a control socket.", {
        hint: "`fettle start` starts the worker by itself.",
      });
    const control = connectControl(socket);
    const [settings, snapshot] = await Promise.all([control.workerSettings({ signal }), control.snapshot({ signal })]);
    const { runpod, http } = settings.sources;
    const { s3 } = settings.results;
    const log = createLog({
      ...(env["FETTLE_LOG_FORMAT"] && { format: env["FETTLE_LOG_FORMAT"] as LogFormat }),
      ...(env["FETTLE_LOG_LEVEL"] && { level: env["FETTLE_LOG_LEVEL"] as LogLevel }),
      secrets: [runpod?.apiKey, http?.apiKey, http?.webhook.secret, s3?.secretAccessKey, s3?.sessionToken, ...settings.engines.flatMap(secretsOf)].filter(
        (key) => key !== undefined,
      ),
    });
    // Loaded while the engine boots, and only where jobs come from RunPod.
    const checkFitness: NonNullable<WorkerOptions["checkFitness"]> = async (limits, options) =>
      (await import("../src/doctor/fitness.ts")).checkFitness(limits, { ...options, env });
    const { results, stateDir, jobs } = settings;
    const finish = createFinishStep({ results, blackImages: jobs.blackImages, assetRoot: join(stateDir, "assets"), log });
    setTimeout(() => void releaseStartCode(), settledMs).unref();
    return await runWorker({ control, settings, snapshot, log, connect: connectBy(settings), steps: [finish], checkFitness, stop: signal });
  },
};

/** When the start is over; the supervisor does the same, so that neither holds what both have let go of. */
const settledMs = 2000;

/** Gives back the memory of the runtime's code that only the start needed: 12 MB. */
async function releaseStartCode(): Promise<void> {
  const libc = await openLibc();
  if (libc) releaseCode(libc);
}

/** What an engine's settings hold that no log may show. */
const secretsOf = ({ settings = {} }: PlannedEngine): string[] =>
  Object.entries(settings).flatMap(([name, value]) => (isSecretName(name) && typeof value === "string" ? [value] : []));

/** Connects the engines of the plan by their kind; answers are read, spooled and checked by results/. */
function connectBy({ jobs, stateDir }: WorkerSettings): (planned: PlannedEngine) => Engine {
  const options: ConnectOptions = {
    timeoutMs: jobs.timeout,
    retry: { tries: jobs.retry.tries, backoffMs: jobs.retry.backoff },
    letGoMs: jobs.letGo,
    loadingMs: jobs.loading,
    owner: stateDir,
    readAnswer: (attempt: Attempt) => createAnswerReader(attempt, { blackImages: jobs.blackImages }),
  };
  const extend = extendEngine({ jobs, cacheDir: join(stateDir, "cache", "responses"), readAnswer: options.readAnswer });
  return (planned) => {
    const connect = connectorOf(planned.kind);
    if (!connect) throw new FettleError("config.invalid", `Cannot use engine ${planned.name}: nobody speaks to engines of kind ${planned.kind}.`);
    return extend(connect(planned, options));
  };
}

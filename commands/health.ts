import type { Snapshot } from "../src/control/protocol.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { parseDuration } from "../src/util/duration.ts";
import { pause } from "../src/util/pause.ts";
import { type Args, type Command, type Io, textFlag } from "./command.ts";
import { findInstance, instanceFlags } from "./find-instance.ts";
import { type Answer, askHealth } from "./health-url.ts";
import { describeServices, describeSnapshot } from "./service-table.ts";

/** Where nothing announces itself (no socket yet, or a URL) it is asked again after this long. */
const againMs = 250;

export const command: Command = {
  name: "health",
  summary: "Ask the running instance: the container's HEALTHCHECK",
  flags: [
    { usage: "--url <url>", summary: "Ask over HTTP: the machine's health port or the job API, such as http://127.0.0.1:9090" },
    { usage: "--wait [duration]", summary: "Wait until it is ready, at most so long; without a duration as long as it takes" },
    ...instanceFlags,
  ],
  examples: ["fettle health", "fettle health --wait 60s && ./send-jobs", "fettle health --url http://127.0.0.1:9090 --json"],
  exits: ["0   it is ready", "1   it is not ready, or none is running"],
  async run(args, io) {
    const wait = readWait(args);
    const answer = wait === undefined ? await askOnce(args, io, io.signal) : await askUntilReady(args, io, wait);
    if (args.flags["json"]) io.out(`${JSON.stringify({ ready: answer.ready, ...answer.body })}\n`);
    else io.out(`${answer.lines.join("\n")}\n`);
    return answer.ready ? 0 : 1;
  },
};

/** Milliseconds, Infinity for --wait without a duration, undefined without --wait. */
function readWait(args: Args): number | undefined {
  const { wait } = args.flags;
  if (wait === undefined) return undefined;
  if (typeof wait !== "string") return Number.POSITIVE_INFINITY;
  const ms = parseDuration(wait);
  if (ms === undefined) throw new FettleError("cli.bad-value", `Cannot use --wait ${wait}: expected a duration such as 60s or 2m.`);
  return ms;
}

async function askOnce(args: Args, io: Io, signal: AbortSignal): Promise<Answer> {
  const url = textFlag(args, "url");
  if (url !== undefined) return await askHealth(url, { signal });
  return answerOf((await findInstance(args, io, { signal })).snapshot);
}

function answerOf(snapshot: Snapshot): Answer {
  return { ready: snapshot.state === "ready", body: { ...snapshot }, lines: [describeSnapshot(snapshot), ...describeServices(snapshot)] };
}

/** The last answer when the time is over; nobody there until the end is the error. */
async function askUntilReady(args: Args, io: Io, waitMs: number): Promise<Answer> {
  const end = new AbortController();
  const stop = () => end.abort();
  const timer = Number.isFinite(waitMs) ? setTimeout(stop, waitMs) : undefined;
  io.signal.addEventListener("abort", stop, { once: true });
  let last: Answer | undefined;
  let failure: unknown;
  try {
    do {
      try {
        last = textFlag(args, "url") === undefined ? await followOnce(args, io, end.signal) : await askOnce(args, io, end.signal);
        if (last.ready) return last;
      } catch (error) {
        if (!end.signal.aborted && !(error instanceof FettleError && error.retryable)) throw error;
        if (!end.signal.aborted) failure = error;
      }
      await pause(againMs, { signal: end.signal });
    } while (!end.signal.aborted);
  } finally {
    clearTimeout(timer);
    io.signal.removeEventListener("abort", stop);
  }
  if (last) return last;
  throw failure ?? new FettleError("supervise.no-instance", "Cannot ask for health: nothing answered in time.");
}

/** Follows one instance by its events until it is ready, gone, or the time is over. */
async function followOnce(args: Args, io: Io, signal: AbortSignal): Promise<Answer> {
  const { control, snapshot } = await findInstance(args, io, { signal });
  let answer = answerOf(snapshot);
  if (answer.ready) return answer;
  for await (const event of control.events(snapshot.seq, { signal })) {
    if (!event.type.startsWith("service.") && event.type !== "supervisor.ready") continue;
    answer = answerOf(await control.snapshot({ signal }).catch((error: unknown) => (signal.aborted ? snapshot : Promise.reject(error as Error))));
    if (answer.ready) break;
  }
  return answer;
}

import type { ServiceStatus, Snapshot } from "../src/control/protocol.ts";
import { formatDuration } from "../src/util/duration.ts";

/** "fettle is ready: profile demo, up 1m05s". */
export function describeSnapshot({ state, profile, uptimeMs, jobApi }: Snapshot): string {
  return `fettle is ${state === "starting" ? "not ready yet" : state}: profile ${profile}, up ${formatDuration(uptimeMs)}${jobApi === undefined ? "" : `, jobs at ${jobApi}`}`;
}

/** One line per service, in columns: name, state, what there is to say; below it what it runs without. */
export function describeServices({ services }: Pick<Snapshot, "services">): string[] {
  const width = Math.max(0, ...services.map(({ name }) => name.length));
  const stateWidth = Math.max(0, ...services.map((one) => describeState(one).length));
  return services.flatMap((one) => [
    `${one.name.padEnd(width)}  ${describeState(one).padEnd(stateWidth)}  ${describeRest(one)}`.trimEnd(),
    ...(one.complaints ?? []).map(({ what, why }) => `${" ".repeat(width)}  runs without ${what}${why === undefined ? "" : `: ${why}`}`),
  ]);
}

function describeState({ state, role, ending }: ServiceStatus): string {
  return state === "exited" && role === "task" && ending?.code === 0 ? "done" : state;
}

function describeRest({ role, pid, uptimeMs, restarts, reason, ending }: ServiceStatus): string {
  const isDone = role === "task" && ending?.code === 0;
  return [
    pid !== undefined && `pid ${pid}`,
    uptimeMs !== undefined && `up ${formatDuration(uptimeMs)}`,
    restarts > 0 && `${restarts} restart${restarts === 1 ? "" : "s"}`,
    !isDone && reason,
  ]
    .filter((part) => typeof part === "string")
    .join(", ");
}

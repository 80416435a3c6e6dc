import type { StampedEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import type { Plan } from "../plan/plan.ts";
import { describeEnding } from "./service-state.ts";

/** Lines of a dead service that are shown again. */
const shownLines = 10;

/** An observer: says on the log what happens, in a person's words. */
export function createAnnouncer(current: () => Plan, log: Log): (event: StampedEvent) => void {
  const declared = (name: string) => current().services.find((service) => service.name === name);
  const showLines = (service: string, lines: readonly string[]) => {
    if (lines.length === 0) return;
    log.info(`The last lines of ${service}:`);
    for (const line of lines.slice(-shownLines)) log.line(line, { service });
  };
  return (event) => {
    const about = "service" in event ? { event: event.type, name: event.service } : { event: event.type };
    switch (event.type) {
      case "supervisor.started":
        for (const line of current().announce) log.line(line);
        for (const warning of current().warnings) log.warn(warning);
        return;
      case "supervisor.warned":
        return log.warn(event.hint === undefined ? event.message : `${event.message} ${event.hint}`, about);
      case "supervisor.reloaded": {
        const lines = [
          ...event.added.map((name) => `  + ${name}`),
          ...event.removed.map((name) => `  - ${name}`),
          ...event.changed.map(({ service, keys }) => `  ~ ${service}: ${keys.join(", ")}`),
        ];
        if (lines.length === 0) return log.info("The configuration was read again; nothing has to be restarted.", about);
        log.info("The configuration was read again; what changed:", about);
        for (const line of lines) log.info(line, about);
        return;
      }
      case "supervisor.reload-failed":
        log.error(`Cannot reload, everything goes on as it was: ${event.message}`, about);
        return event.hint === undefined ? undefined : log.info(event.hint, about);
      case "supervisor.logs-reopened":
        log.info(`Log files were opened anew: ${event.files}.`, about);
        if (event.direct.length > 0)
          log.warn(`${event.direct.join(", ")} write their logs themselves, and go on in the old file until their next start.`, about);
        return;
      case "supervisor.stopping":
        return log.info(`Stopping: ${event.reason}.`, about);
      case "supervisor.stopped":
        return log.info(`Stopped after ${seconds(event.afterMs)}, exit code ${event.exitCode}.`, about);
      case "service.starting":
        return event.announce === undefined ? log.debug(`${event.service} starts: ${event.argv.join(" ")}`, about) : log.line(event.announce);
      case "service.spawned":
        return log.debug(`${event.service} is process ${event.pid}`, about);
      case "service.waiting":
        return log.info(`${event.service} is not ready yet: ${event.reason} (${event.tries} tries)`, about);
      case "service.ready":
        return log.success(`${event.service} is ready after ${seconds(event.afterMs)}`, about);
      case "service.unready":
        return log.warn(`${event.service} is not ready any more: ${event.reason}`, about);
      case "service.complained":
        return log.warn(`${event.service} runs without ${event.what}${event.why === undefined ? "" : `: ${event.why}`}`, about);
      case "service.exited":
        if (event.wanted) return log.debug(`${event.service} ${describeEnding(event.ending)}`, about);
        if (event.ending.code === 0) return log.info(`${event.service} ${describeEnding(event.ending)}`, about);
        log.warn(`${event.service} ${describeEnding(event.ending)}`, about);
        if (!declared(event.service)?.console) showLines(event.service, event.lastLines);
        return;
      case "service.failed":
        return log[declared(event.service)?.optional ? "warn" : "error"](`Cannot start ${event.service}: ${event.reason}.`, about);
      case "service.backing-off":
        return log.info(`${event.service} starts again ${event.delayMs === 0 ? "at once" : `in ${seconds(event.delayMs)}`} (restart ${event.restarts})`, about);
      case "service.crash-looping":
        log.error(`${event.service} keeps failing and is given up after ${event.restarts} restarts`, about);
        return showLines(event.service, event.lastLines);
      case "service.killed":
        return log.warn(`${event.service} did not end in ${seconds(event.afterMs)} and was killed`, about);
      default:
        return;
    }
  };
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 1000 ? 2 : 1)} s`;

import type { StampedEvent } from "../events/event.ts";
import type { Log } from "../log/log.ts";
import { formatDuration } from "../util/duration.ts";

/** An observer: says on the log what becomes of jobs and sources, one line per job when all goes well. `milestones`: RunPod's own two as well. */
export function logJobs(log: Log, { milestones = false }: { milestones?: boolean } = {}): (event: StampedEvent) => void {
  return (event) => {
    const about = { event: event.type, ...("job" in event && { job: event.job, source: event.source }) };
    switch (event.type) {
      case "worker.listening":
        return log.info(`Jobs are taken at ${event.url}`, about);
      case "job.received":
        return event.recovered ? log.info("taken up again", about) : log.debug("received", about);
      case "job.started":
        if (milestones && event.attempt === 1) log.info("Started.", about);
        return log.debug(`runs on ${event.engine} (attempt ${event.attempt})`, about);
      case "job.retried":
        return log.warn(`attempt ${event.attempt} broke off (${event.cause}); it runs again${afterRemedy(event.remedy)}`, about);
      case "job.done":
        return log.info(`done in ${formatDuration(event.engineMs)}, ${event.sizeBytes} bytes`, about);
      case "job.failed":
        return log.error(`${event.message} (${event.code})`, about);
      case "job.cancelled":
        return log.info("cancelled", about);
      case "job.sent":
        if (milestones) log.info("Finished.", about);
        return log.debug(`result delivered ${formatDuration(event.totalMs)} after the job came`, { ...about, status: event.status, points: event.points });
      case "job.cached":
        return event.outcome === "hit" ? log.info("answered from the response cache", about) : undefined;
      case "job.batched":
        return log.debug(`shares a call of ${event.engine} with ${event.size - 1} more`, about);
      case "worker.restarts-engine":
        return log.warn(`Asks for a restart of engine ${event.engine}: ${event.cause}.`, about);
      case "webhook.sent":
        return log.debug(`webhook delivered to ${event.host}`, about);
      case "webhook.failed":
        return log.warn(
          `Cannot deliver the webhook to ${event.host}: ${event.reason}. ${event.retryInMs > 0 ? `Next try in ${formatDuration(event.retryInMs)}.` : "It is given up."}`,
          about,
        );
      case "source.failed":
        return log.warn(event.retryInMs > 0 ? `${event.message} Next try in ${formatDuration(event.retryInMs)}.` : event.message, {
          event: event.type,
          source: event.source,
        });
      default:
        return;
    }
  };
}

function afterRemedy(remedy: "free-memory" | "restart" | undefined): string {
  if (remedy === undefined) return "";
  return remedy === "restart" ? " when its engine was restarted" : " after the engine freed its memory";
}

import type { StampedEvent } from "../../events/event.ts";
import { ByLabels, Counters, type Exposition, Histogram } from "./exposition.ts";

const secondsOfWork = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800];
const secondsOfWaiting = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800];

/** Counted here, in the supervisor, from what the worker reports: a worker that starts again loses no count. */
export interface JobMetrics {
  apply(event: StampedEvent): void;
  write(out: Exposition): void;
}

/** An observer of the job events; see docs/metrics.md. */
export function createJobMetrics(): JobMetrics {
  const total = new ByLabels(() => new Histogram(secondsOfWork));
  const engine = new ByLabels(() => new Histogram(secondsOfWork));
  const queue = new ByLabels(() => new Histogram(secondsOfWaiting));
  const points = new ByLabels(() => ({ sum: 0, count: 0 }));
  const [ended, attempts, retries, recovered, cache, batched, bytes] = Array.from({ length: 7 }, () => new Counters()) as Seven;
  const [failures, restarts, webhooks] = [new Counters(), new Counters(), new Counters()];

  const end = (event: { readonly source: string; readonly engineMs: number; readonly engine?: string }, status: string, code?: string) => {
    ended.add({ source: event.source, status, ...(code !== undefined && { code }) });
    if (event.engineMs > 0) engine.of({ source: event.source, status, ...(event.engine && { engine: event.engine }) }).observe(event.engineMs / 1000);
  };
  return {
    apply(event) {
      switch (event.type) {
        case "job.received":
          return event.recovered ? recovered.add({ source: event.source }) : undefined;
        case "job.started":
          attempts.add({ source: event.source, engine: event.engine });
          return event.attempt === 1 ? queue.of({ source: event.source }).observe(event.queueMs / 1000) : undefined;
        case "job.retried":
          return retries.add({ source: event.source, cause: event.cause, ...(event.remedy && { remedy: event.remedy }) });
        case "job.done":
          bytes.add({ source: event.source }, event.sizeBytes);
          return end(event, "COMPLETED");
        case "job.failed":
          return end(event, "FAILED", event.code);
        case "job.cancelled":
          return end(event, "CANCELLED", "job.cancelled");
        case "job.sent":
          total.of({ source: event.source, status: event.status }).observe(event.totalMs / 1000);
          return applyPoints(event.points);
        case "job.cached":
          return cache.add({ outcome: event.outcome });
        case "job.batched":
          return batched.add({ engine: event.engine, size: String(event.size) });
        case "source.failed":
          return failures.add({ source: event.source });
        case "worker.restarts-engine":
          return restarts.add({ engine: event.engine });
        case "webhook.sent":
          return webhooks.add({ outcome: "sent" });
        case "webhook.failed":
          return webhooks.add({ outcome: event.retryInMs > 0 ? "failed" : "given-up" });
      }
    },
    write(out) {
      out.histogram("fettle_job_seconds", "End to end: from a job's receipt until its result was sent.", total);
      out.histogram("fettle_job_engine_seconds", "On the engine: the last attempt of a job.", engine);
      out.histogram("fettle_job_queue_seconds", "From a job's receipt until its first attempt began.", queue);
      out.summary("fettle_job_point_seconds", "From a job's receipt until it reached the point; jobs that were sent.", points);
      out.family("fettle_jobs_total", "counter", "Jobs that ended, by source, status and error code.", ended.samples);
      out.family("fettle_jobs_recovered_total", "counter", "Jobs of a former life of the worker that were taken up again.", recovered.samples);
      out.family("fettle_job_attempts_total", "counter", "Attempts, by engine.", attempts.samples);
      out.family("fettle_job_retries_total", "counter", "Attempts that broke off and were followed by another, by cause.", retries.samples);
      out.family("fettle_job_result_bytes_total", "counter", "Bytes of completed results.", bytes.samples);
      out.family("fettle_engine_restarts_asked_total", "counter", "Restarts that the worker asked for.", restarts.samples);
      out.family("fettle_response_cache_requests_total", "counter", "Seeded jobs by what the response cache made of them.", cache.samples);
      out.family("fettle_batched_jobs_total", "counter", "Jobs that shared an engine call.", batched.samples);
      out.family("fettle_source_failures_total", "counter", "Failed talks with a job source.", failures.samples);
      out.family("fettle_webhooks_total", "counter", "Webhook deliveries by outcome.", webhooks.samples);
    },
  };

  function applyPoints(reached: Readonly<Record<string, string>>): void {
    const began = Date.parse(reached["received"] ?? "");
    for (const [point, at] of Object.entries(reached)) {
      const seconds = (Date.parse(at) - began) / 1000;
      if (point === "received" || !Number.isFinite(seconds)) continue;
      const known = points.of({ point });
      known.sum += Math.max(0, seconds);
      known.count += 1;
    }
  }
}

type Seven = [Counters, Counters, Counters, Counters, Counters, Counters, Counters];

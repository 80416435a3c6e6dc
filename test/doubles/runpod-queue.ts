/** The platform's memory of jobs: queued, handed out, answered. No HTTP here; counts are kept so that big runs stay quick. */
import type { Handout, JobRecord, PlatformJob, PostRecord, RequestRecord } from "./runpod-records.ts";

export type JobQueue = ReturnType<typeof createJobQueue>;

/** A job handed out that has no accepted result yet. */
export type Outstanding = { id: string; handouts: Handout[]; posts: number; stop: JobRecord["stop"] };

export function createJobQueue() {
  const jobs = new Map<string, JobRecord>();
  const unanswered = new Set<string>();
  let waiting: { record: JobRecord; json: string }[] = [];

  return {
    get: (id: string) => jobs.get(id),
    all: () => [...jobs.values()],
    waitingCount: () => waiting.length,
    /** Submitted jobs that still lack an accepted result; stopped ones leave when the worker was told. */
    unansweredCount: () => unanswered.size,

    /** Queues a job; the same id again is the platform's own redelivery. */
    submit(job: PlatformJob) {
      let record = jobs.get(job.id);
      if (!record) {
        record = {
          id: job.id,
          job,
          submittedAtMs: performance.now(),
          handouts: [],
          results: [],
          progress: [],
          chunks: [],
          stop: "none",
        };
        jobs.set(job.id, record);
        unanswered.add(job.id);
      }
      waiting.push({ record, json: JSON.stringify(job) });
    },

    /** Takes up to `count` jobs off the queue and stamps the hand-out. */
    handOut(count: number, take: RequestRecord): { json: string; handout: Handout; undo: () => void }[] {
      const taken = waiting.slice(0, count);
      waiting = waiting.slice(count);
      return taken.map((entry) => {
        const handout: Handout = { atMs: performance.now(), workerId: take.workerId, take, delivered: "writing" };
        entry.record.handouts.push(handout);
        const undo = () => {
          handout.delivered = "no";
          waiting.unshift(entry);
        };
        return { json: entry.json, handout, undo };
      });
    },

    accept(post: PostRecord, id: string) {
      post.accepted = true;
      if (jobs.get(id)?.results.includes(post)) unanswered.delete(id);
    },

    stop(id: string, state: Exclude<JobRecord["stop"], "none">) {
      const record = jobs.get(id);
      if (record) record.stop = state;
      waiting = waiting.filter((entry) => entry.record.id !== id);
      if (state !== "asked") unanswered.delete(id);
    },

    /** Jobs in a worker's hands: handed out at least once, not waiting again, no accepted result. */
    outstanding(): Outstanding[] {
      const queued = new Set(waiting.map((entry) => entry.record.id));
      return [...unanswered].flatMap((id) => {
        const record = jobs.get(id);
        if (!record || queued.has(id) || record.handouts.length === 0) return [];
        return [{ id, handouts: record.handouts, posts: record.results.length, stop: record.stop }];
      });
    },
  };
}

import { treeCpuSeconds } from "../../memory.ts";
import { handedAt, handedToPosted, limit, type Session, warmUp, withSession } from "../session.ts";
import { launchOf, type SideName } from "../sides.ts";
import type { Bench, Row } from "./row.ts";

/** Throughput with several jobs at once. Concurrency 1 is a part of `latency`. */
export const concurrency: Row<SideName> = {
  about: "throughput at concurrency 4 and 10",
  sides: ["fettle", "sdk", "handler"],
  async measure(bench, side) {
    for (const at of [4, 10] as const) {
      await withSession(launchOf(side, bench.programs, bench.engine.url, at), bench.samples, async (session) => {
        bench.samples.add("startToTakeMs", side, session.startToTakeMs);
        await warmUp(session.platform);
        await runBacklog(session, bench, side, at);
      });
    }
  },
};

/** All jobs are there at once; the worker takes them as fast as it can. */
export async function runBacklog({ platform, worker }: Session, { plan, samples, round }: Bench, side: SideName, at: 1 | 4 | 10): Promise<void> {
  await platform.waitForHeldTake(limit(60_000));
  const ids = Array.from({ length: plan.backlogJobs[at] }, (_, index) => `backlog-${round}-${index}`);
  const cpuBefore = treeCpuSeconds(worker.pid);
  platform.submit(...ids.map((id) => ({ id, input: { prompt: id } })));
  await platform.waitForAll(limit(60_000 + ids.length * 5000));
  const cpuMs = (treeCpuSeconds(worker.pid) - cpuBefore) * 1000;
  const tookMs = await Promise.all(ids.map((id) => handedToPosted(platform, id)));
  const handed = ids.map((id) => handedAt(platform, id));
  const posted = ids.map((_, index) => (handed[index] ?? Number.NaN) + (tookMs[index] ?? Number.NaN));
  const spanMs = Math.max(...posted) - Math.min(...handed);
  samples.add(`throughput${at}`, side, (ids.length / spanMs) * 1000);
  if (at !== 1) return;
  samples.add("backlogMs", side, ...tookMs);
  samples.add("cpuMsPerJob", side, cpuMs / ids.length);
  await platform.waitForHeldTake(limit(60_000));
  // The take that follows a hand-out is the worker's next one; below 0 when it came while the result was still on its way.
  const takes = platform.calls("job-take").map((take) => take.arrivedAtMs);
  const nextTake = (index: number) => takes.find((take) => take > (handed[index] ?? 0)) ?? Number.NaN;
  samples.add("nextTakeMs", side, ...posted.map((postedAt, index) => nextTake(index) - postedAt));
}

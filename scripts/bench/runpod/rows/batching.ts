import { handedAt, handedToPosted } from "../session.ts";
import { missing, smallJob, withBundledEngine } from "./bundled.ts";
import type { Row, Variant } from "./row.ts";

const maxSize = 4;

/** Throughput of waiting jobs that differ in prompt and seed, one by one and up to four in a call of the bundled engine. */
export const batching: Row<Variant> = {
  about: `throughput of the bundled engine with batches of ${maxSize}, beside the same jobs one by one`,
  sides: ["without", "with"],
  missing,
  async measure(bench, side) {
    const { plan, samples, round } = bench;
    const jobs = { batching: { enabled: side === "with", maxSize } };
    await withBundledEngine(bench, { concurrency: maxSize, jobs }, async ({ platform }) => {
      const ids = Array.from({ length: plan.batchJobs }, (_, index) => `batch-${round}-${index}`);
      platform.submit(...ids.map((id, seed) => ({ id, input: { ...smallJob, prompt: id, seed } })));
      const ends = await Promise.all(
        ids.map(async (id) => {
          const tookMs = await handedToPosted(platform, id);
          return handedAt(platform, id) + tookMs;
        }),
      );
      const spanMs = Math.max(...ends) - Math.min(...ids.map((id) => handedAt(platform, id)));
      samples.add("batchPerS", side, (ids.length / spanMs) * 1000);
    });
  },
};

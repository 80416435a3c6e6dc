import { handedToPosted } from "../session.ts";
import { missing, smallJob, untilHashed, withBundledEngine } from "./bundled.ts";
import type { Row } from "./row.ts";

/** The same seeded jobs twice: the engine makes the first ones, the cache answers the second. */
export const cache: Row<"with"> = {
  about: "a seeded job made by the bundled engine, and the same job from the response cache",
  sides: ["with"],
  missing,
  async measure(bench) {
    const { plan, samples } = bench;
    await withBundledEngine(bench, { concurrency: 1, jobs: { responseCache: { enabled: true } } }, async ({ platform, engineUrl }) => {
      await untilHashed(engineUrl);
      for (const side of ["without", "with"] as const) {
        for (let index = 0; index < plan.cacheJobs; index += 1) {
          const id = `${side}-${index}`;
          platform.submit({ id, input: { ...smallJob, prompt: `picture ${index}`, seed: index + 1 } });
          samples.add("cacheMs", side, await handedToPosted(platform, id));
        }
      }
      const answers = (side: string, index: number) => platform.results(`${side}-${index}`)[0]?.sha256;
      for (let index = 0; index < plan.cacheJobs; index += 1) {
        if (answers("without", index) !== answers("with", index)) samples.notes.add("a cached answer differs from the engine's own");
      }
    });
  },
};

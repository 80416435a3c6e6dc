import { treePssMib, watchPss } from "../../memory.ts";
import { median } from "../../stats.ts";
import { handedToPosted, limit, warmUp, withSession } from "../session.ts";
import { launchOf, type SideName } from "../sides.ts";
import type { Row } from "./row.ts";

const largeBytes = 15_000_000;

/** Four results of 15 MB, all posted and none yet answered: each worker still owns all four. */
export const large: Row<"fettle" | "sdk"> = {
  about: "four 15 MB results at once: time and memory",
  sides: ["fettle", "sdk"] satisfies SideName[],
  async measure({ programs, plan, samples, engine, round }, side) {
    await withSession(launchOf(side, programs, engine.url, 4), samples, async ({ platform, worker, startToTakeMs }) => {
      samples.add("startToTakeMs", side, startToTakeMs);
      await warmUp(platform);
      for (let wave = 0; wave < plan.waves; wave += 1) {
        // A /runsync job by its id, for which the platform takes 20 MB.
        const ids = [0, 1, 2, 3].map((index) => `sync-large-${round}-${wave}-${index}`);
        const gate = platform.holdAnswers("job-done");
        const watch = watchPss(worker.pid);
        platform.submit(...ids.map((id) => ({ id, input: { prompt: id, override_settings: { noop: { sizeBytes: largeBytes } } } })));
        await gate.untilHeld(4, limit(120_000));
        samples.add("heldPssMib", side, treePssMib(worker.pid));
        gate.release();
        samples.add("largeMs", side, median(await Promise.all(ids.map((id) => handedToPosted(platform, id)))));
        samples.add("peakPssMib", side, (await watch.stop()).peakMib);
        if (ids.some((id) => (platform.results(id)[0]?.sizeBytes ?? 0) < largeBytes)) throw new Error("A result is smaller than its image.");
        await platform.waitForHeldTake(limit(60_000));
      }
    });
  },
};

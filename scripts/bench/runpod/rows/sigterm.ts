import type { RunpodPlatform } from "../../../../test/doubles/runpod-platform.ts";
import { limit, warmUp, withSession } from "../session.ts";
import { launchOf, type SideName } from "../sides.ts";
import type { Row } from "./row.ts";

/** Longer than any worker asks: the SDK cuts its poll after 90 s itself. */
const holdMs = 120_000;

/** SIGTERM to an idle worker, right after its request for a job has begun. */
export const sigterm: Row<"fettle" | "sdk"> = {
  about: "SIGTERM → exit while a poll is held (90 s for the SDK)",
  sides: ["fettle", "sdk"] satisfies SideName[],
  async measure({ programs, plan, samples, engine, round }, side) {
    if (side === "sdk" && (round > 0 || !plan.stopSdk)) return;
    for (let stop = 0; stop < (side === "sdk" ? 1 : plan.sigterms); stop += 1) {
      await withSession(launchOf(side, programs, engine.url, 1), samples, async ({ platform, worker }) => {
        await warmUp(platform);
        platform.setHold(holdMs);
        await nextTake(platform);
        const { tookMs, ending } = await worker.terminate(110_000);
        samples.add("sigtermMs", side, tookMs);
        if (ending !== "exit 0") samples.notes.add(`${side} ended with ${ending} on SIGTERM`);
      });
    }
  },
};

/** A take that begins from now on, so that it is held for the whole of the present hold. */
async function nextTake(platform: RunpodPlatform): Promise<void> {
  const from = platform.requests.length;
  const look = () => platform.requests.find((request) => request.seq >= from && request.endpoint.startsWith("job-take"));
  await platform.waitFor("the next take", look, limit(120_000));
  await platform.waitForHeldTake(limit(60_000));
}

import { seededDice } from "../../../../test/doubles/runpod-faults.ts";
import { handedAt, handedToPosted, limit, warmUp, withSession } from "../session.ts";
import { launchOf, type SideName } from "../sides.ts";
import type { Row } from "./row.ts";

/** How much of the time an engine works, when jobs of 1.2–2.2 s wait for it: their lengths over the time from the first hand-out to the last result. */
export const busy: Row<SideName> = {
  about: "engine busy share on 40 blocking jobs of 1.2–2.2 s",
  sides: ["fettle", "sdk", "handler"],
  async measure({ programs, plan, samples, engine, round }, side) {
    await withSession(launchOf(side, programs, engine.url, 1), samples, async ({ platform, startToTakeMs }) => {
      samples.add("startToTakeMs", side, startToTakeMs);
      await warmUp(platform);
      const dice = seededDice(round + 1);
      const jobs = Array.from({ length: plan.busyJobs }, (_, index) => ({ id: `busy-${round}-${index}`, delayMs: 1200 + Math.floor(dice() * 1000) }));
      platform.submit(...jobs.map(({ id, delayMs }) => ({ id, input: { prompt: id, override_settings: { noop: { delayMs } } } })));
      await platform.waitForAll(limit(60_000 + jobs.length * 8000));
      const ends = await Promise.all(jobs.map(async ({ id }) => handedAt(platform, id) + (await handedToPosted(platform, id))));
      const spanMs = Math.max(...ends) - Math.min(...jobs.map(({ id }) => handedAt(platform, id)));
      samples.add("busyPercent", side, (jobs.reduce((sum, { delayMs }) => sum + delayMs, 0) / spanMs) * 100);
    });
  },
};

import { seededDice } from "../../../../test/doubles/runpod-faults.ts";
import { pssByProcess, strangersSharing, treePssMib } from "../../memory.ts";
import { handedToPosted, limit, pause, warmUp, withSession } from "../session.ts";
import { launchOf, type SideName } from "../sides.ts";
import { runBacklog } from "./backlog.ts";
import type { Bench, Row } from "./row.ts";

/** Start, memory at rest, jobs that come to an idle worker, and a backlog, one job at a time. */
export const latency: Row<SideName> = {
  about: "start, idle memory, jobs into an idle poll, a backlog at concurrency 1",
  sides: ["fettle", "sdk", "handler"],
  async measure(bench, side) {
    const { programs, samples, engine, round } = bench;
    await withSession(launchOf(side, programs, engine.url, 1), samples, async (session) => {
      const { platform, worker } = session;
      samples.add("startToTakeMs", side, session.startToTakeMs);
      await warmUp(platform);
      await pause(3000);
      samples.add("idlePssMib", side, treePssMib(worker.pid));
      if (round === 0)
        samples.processes.push(...pssByProcess(worker.pid).map(({ command, pssMib }) => ({ column: side, command: command.slice(0, 80), pssMib })));
      if (strangersSharing(worker.pid) > 0) samples.notes.add(`${side}: other processes ran the same program meanwhile, so its PSS reads lower than it is`);
      await idleJobs(session.platform, bench, side);
      await runBacklog(session, bench, side, 1);
      await pause(1000);
      samples.add("usedPssMib", side, treePssMib(worker.pid));
    });
  },
};

async function idleJobs(platform: Parameters<typeof warmUp>[0], { plan, samples, round }: Bench, side: SideName): Promise<void> {
  const dice = seededDice(round + 1);
  for (let index = 0; index < plan.idleJobs; index += 1) {
    await platform.waitForHeldTake(limit(60_000));
    await pause(20 + dice() * 200);
    const id = `idle-${round}-${index}`;
    platform.submit({ id, input: { prompt: id } });
    samples.add("idleMs", side, await handedToPosted(platform, id));
  }
}

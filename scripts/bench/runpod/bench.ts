/** Runs the rows of the RunPod bench: round by round, row by row, and within a row side by side, so that a noisy minute meets them all. */
import { startNoopEngine } from "../../../test/doubles/noop-engine.ts";
import type { Plan } from "./plan.ts";
import { rows } from "./rows/index.ts";
import { Samples } from "./samples.ts";
import type { Programs } from "./sides.ts";

/** `wanted` are names of the rows' table. */
export async function benchRunpod(programs: Programs, plan: Plan, wanted: readonly string[], say: (line: string) => void): Promise<Samples> {
  const samples = new Samples();
  await using engine = await startNoopEngine();
  for (let round = 0; round < plan.rounds; round += 1) {
    for (const name of wanted) {
      const row = rows[name];
      if (!row) continue;
      const why = row.missing?.(programs);
      if (why !== undefined) samples.notes.add(`${name} left out: ${why}`);
      else {
        for (const side of row.sides) {
          say(`round ${round + 1}/${plan.rounds}, ${name}: ${side}`);
          // What other rows have measured is not lost with this one.
          await row.measure({ programs, plan, samples, engine, round }, side).catch((error: unknown) => {
            samples.failures.push(`${name}, ${side}: ${explain(error)}`);
          });
        }
      }
    }
  }
  return samples;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} ${explain(error.cause)}`;
}

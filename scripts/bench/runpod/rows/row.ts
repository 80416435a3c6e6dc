/** What a row is: one thing that is measured, for one side in one round. Each file beside this one is a row; index.ts has their table. */
import type { NoopEngine } from "../../../../test/doubles/noop-engine.ts";
import type { Plan } from "../plan.ts";
import type { Samples } from "../samples.ts";
import type { Programs, SideName } from "../sides.ts";

export interface Bench {
  readonly programs: Programs;
  readonly plan: Plan;
  readonly samples: Samples;
  /** Renders nothing, is ready, and is the same process for all sides. */
  readonly engine: NoopEngine;
  readonly round: number;
}

/** Without and with what a gain row is about. */
export type Variant = "without" | "with";

export interface Row<Side extends string = SideName | Variant> {
  readonly about: string;
  /** Their turns within a round, in this order. */
  readonly sides: readonly Side[];
  /** Why it cannot run with these programs. */
  readonly missing?: (programs: Programs) => string | undefined;
  measure(bench: Bench, side: Side): Promise<void>;
}

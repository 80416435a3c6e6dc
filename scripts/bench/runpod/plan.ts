/** How much is measured: everything, or enough of it to see in well under two minutes whether something is badly off. */

export interface Plan {
  /** Interleaved: every side has its turn in each. */
  readonly rounds: number;
  /** Each round, each side. */
  readonly idleJobs: number;
  readonly backlogJobs: Readonly<Record<1 | 4 | 10, number>>;
  readonly busyJobs: number;
  /** Waves of four 15 MB results. */
  readonly waves: number;
  readonly sigterms: number;
  /** The SDK waits for its poll's end, which it cuts after 90 s; left out, only fettle is stopped. */
  readonly stopSdk: boolean;
  readonly stallWaves: number;
  readonly batchJobs: number;
  readonly cacheJobs: number;
}

export const fullPlan: Plan = {
  rounds: 2,
  idleJobs: 20,
  backlogJobs: { 1: 100, 4: 100, 10: 200 },
  busyJobs: 20,
  waves: 2,
  sigterms: 3,
  stopSdk: true,
  stallWaves: 10,
  batchJobs: 24,
  cacheJobs: 10,
};

export const quickPlan: Plan = {
  rounds: 1,
  idleJobs: 5,
  backlogJobs: { 1: 10, 4: 16, 10: 30 },
  busyJobs: 4,
  waves: 1,
  sigterms: 2,
  stopSdk: false,
  stallWaves: 4,
  batchJobs: 16,
  cacheJobs: 5,
};

/** Rows that start a torch engine; with --quick they run only when they are named. */
export const slowRows: readonly string[] = ["batching", "cache"];

/** What a shorter run says less about. */
export function planNotes(plan: Plan, rows: readonly string[]): string[] {
  const busyJobs = plan.busyJobs * plan.rounds;
  return [
    ...(rows.includes("sigterm") && !plan.stopSdk ? ["the SDK's SIGTERM → exit is left out; it takes about 88 s"] : []),
    ...(rows.includes("busy") && busyJobs < 40
      ? [`the busy share is over ${busyJobs} jobs instead of 40, so the pause after the last one, which does not count, weighs more`]
      : []),
  ];
}

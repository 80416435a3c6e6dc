import type { Progress } from "../src/engines/engine.ts";
import type { ListedJob } from "../src/generate/job-list.ts";
import type { Outcome, Tally } from "../src/generate/run-jobs.ts";
import type { Log } from "../src/log/log.ts";
import { formatDuration } from "../src/util/duration.ts";
import ora, { type Ora } from "ora";
import { isDrawable } from "./spinner.ts";

export interface JobsProgress extends Disposable {
  /** What happens before the first job. */
  say(text: string): void;
  warn(text: string): void;
  start(job: ListedJob): void;
  progress(job: ListedJob, progress: Progress): void;
  end(job: ListedJob, outcome: Outcome): void;
}

const barWidth = 24;
const name = ({ n, id }: ListedJob): string => id ?? `job ${n}`;

/** A bar on a terminal, with failures as lines above it; elsewhere one line for each job. */
export function showJobsProgress(total: number, log: Log): JobsProgress {
  const spinner = isDrawable(process.stderr) ? ora({ text: "", stream: process.stderr, discardStdin: false }).start() : undefined;
  const running = new Map<number, number>();
  const ended = { count: 0, failed: 0, done: 0 };
  const startedMs = performance.now();
  const draw = () => {
    if (!spinner) return;
    const share = (ended.count + [...running.values()].reduce((sum, fraction) => sum + fraction, 0)) / total;
    const filled = Math.round(share * barWidth);
    const rest =
      ended.done > 0 ? ` · ${formatDuration(((performance.now() - startedMs) / ended.done) * (total - ended.count)).replace(/\.\d+s$/, "s")} left` : "";
    const failed = ended.failed > 0 ? ` · ${ended.failed} failed` : "";
    spinner.text = `${"█".repeat(filled)}${"░".repeat(barWidth - filled)} ${ended.count}/${total}${failed}${rest}`;
  };
  return {
    say(text) {
      if (spinner) spinner.text = text;
      else log.info(`${text} …`);
    },
    warn: (text) => above(spinner, () => log.warn(text)),
    start(job) {
      running.set(job.n, 0);
      draw();
    },
    progress(job, { fraction }) {
      if (running.has(job.n)) running.set(job.n, fraction);
      draw();
    },
    end(job, outcome) {
      running.delete(job.n);
      ended.count += 1;
      if (outcome.type === "done") ended.done += 1;
      if (outcome.type === "failed") ended.failed += 1;
      const head = `${ended.count}/${total} ${name(job)}`;
      const fields = { n: job.n };
      if (outcome.type === "failed") above(spinner, () => log.error(`${head}: ${outcome.error.message} (${outcome.error.code})`, fields));
      else if (outcome.type === "done") {
        for (const warning of outcome.result.warnings) above(spinner, () => log.warn(`${head}: ${warning}`, fields));
        if (!spinner) log.info(`${head}: done in ${formatDuration(outcome.ms)}`, fields);
      } else if (!spinner && outcome.type === "skipped") log.info(`${head}: done by a former run`, fields);
      draw();
    },
    [Symbol.dispose]: () => void spinner?.stop(),
  };
}

/** `12 done, 3 skipped, 1 failed of 20 in 2m05s` */
export function summarize({ total, done, skipped, failed }: Tally, ms: number): string {
  const left = total - done - skipped - failed;
  const parts = [
    [done, "done"],
    [skipped, "done before"],
    [failed, "failed"],
    [left, "not run"],
  ] as const;
  const said = parts.filter(([count], index) => count > 0 || index === 0).map(([count, word]) => `${count} ${word}`);
  return `${said.join(", ")} of ${total} ${total === 1 ? "job" : "jobs"} in ${formatDuration(ms)}`;
}

function above(spinner: Ora | undefined, write: () => void): void {
  spinner?.clear();
  write();
  spinner?.render();
}

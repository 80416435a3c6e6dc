import { basename } from "node:path";
import ora from "ora";
import type { Log } from "../src/log/log.ts";
import type { MergeReport } from "../src/merge/merge-request.ts";
import type { MergeEvent } from "../src/merge/run-recipe.ts";
import type { FetchEvent } from "../src/models/fetch-model.ts";
import { formatBytes } from "../src/util/bytes.ts";
import { formatDuration } from "../src/util/duration.ts";
import { isDrawable } from "./spinner.ts";

const lineEveryMs = 10_000;

export interface MergeProgress extends Disposable {
  onEvent(event: MergeEvent): void;
}

/** One display for the whole run: on a terminal a line that changes under what is finished, elsewhere plain lines, at most one in 10 s. */
export function showMergeProgress(log: Log, { templates }: { readonly templates: number }): MergeProgress {
  const line = isDrawable(process.stderr) ? liveLine() : plainLines(log);
  const downloads = new Downloads();
  let finished = 0;
  const count = templates > 1 ? () => `${Math.min(finished + 1, templates)}/${templates} ` : () => "";
  const onFetch = (event: FetchEvent) => {
    const name = shortName(event.source);
    switch (event.type) {
      case "waiting":
        return line.now(`Waiting for ${event.holder}, which fetches ${name}`);
      case "found":
        downloads.begin(event);
        return line.now(downloads.text());
      case "bytes":
        downloads.add(event.source, event.count);
        return line.update(() => downloads.text());
      case "retry":
        return line.say("warn", `Fetching ${name} again: ${event.reason}.`);
      case "stale":
        return line.say("warn", `Using the cached ${name}: ${event.reason}.`);
      case "fetched":
        downloads.end(event.source);
        if (event.from === "network") line.say("success", `Fetched ${name} (${formatBytes(event.sizeBytes)})`);
        return undefined;
    }
  };
  return {
    onEvent(event) {
      switch (event.type) {
        case "fetch":
          return void onFetch(event.event);
        case "waiting":
          return line.now(`Waiting for ${event.holder}, which merges ${event.name}`);
        case "merging":
          if (event.totalBytes === 0) return line.now(`Merging ${count()}${event.name}`);
          return line.update(() => `Merging ${count()}${event.name}: ${Math.floor((100 * event.doneBytes) / event.totalBytes)} %`);
        case "merged":
          finished += 1;
          return line.say("success", describeReport(event.report));
        case "failed":
          finished += 1;
          return line.say("error", `${event.name} is not merged (${event.error.code})`);
      }
    },
    [Symbol.dispose]: () => line.end(),
  };
}

interface Line {
  /** A step begins. */
  now(text: string): void;
  /** It went on. */
  update(text: () => string): void;
  say(level: "success" | "warn" | "error", text: string): void;
  end(): void;
}

function liveLine(): Line {
  // discardStdin reads the terminal, and a signal must still reach us.
  const spinner = ora({ stream: process.stderr, discardStdin: false });
  const show = (text: string) => void (spinner.isSpinning ? (spinner.text = text) : spinner.start(text));
  let nextMs = 0;
  // A text that changes costs the spinner a layout, and thousands of chunks come in a second.
  const update = (text: () => string) => {
    if (performance.now() < nextMs) return;
    nextMs = performance.now() + 100;
    show(text());
  };
  const marks = { success: "succeed", warn: "warn", error: "fail" } as const;
  return { now: show, update, say: (level, text) => void spinner[marks[level]](text), end: () => void spinner.stop() };
}

function plainLines(log: Log): Line {
  let lastMs = performance.now();
  const now = (text: string) => {
    lastMs = performance.now();
    log.info(`${text} …`);
  };
  return {
    now,
    update: (text) => void (performance.now() - lastMs >= lineEveryMs && now(text())),
    say: (level, text) => log[level](text),
    end: () => undefined,
  };
}

/** The downloads under way as one sum, with the pace of the last seconds. */
class Downloads {
  readonly #open = new Map<string, { done: number; total: number | undefined }>();
  #pace = { sinceMs: performance.now(), bytes: 0, perSecond: 0 };

  begin({ source, sizeBytes, resumedBytes }: Extract<FetchEvent, { type: "found" }>): void {
    this.#open.set(source, { done: resumedBytes, total: sizeBytes });
  }

  add(source: string, count: number): void {
    const one = this.#open.get(source);
    if (one) one.done += count;
    this.#pace.bytes += count;
    const ms = performance.now() - this.#pace.sinceMs;
    if (ms >= 2000) this.#pace = { sinceMs: performance.now(), bytes: 0, perSecond: Math.max(0, (this.#pace.bytes * 1000) / ms) };
  }

  end(source: string): void {
    this.#open.delete(source);
  }

  text(): string {
    const names = [...this.#open.keys()].map(shortName).join(", ");
    const all = [...this.#open.values()];
    const done = all.reduce((sum, one) => sum + one.done, 0);
    const total = all.every((one) => one.total !== undefined) ? all.reduce((sum, one) => sum + (one.total ?? 0), 0) : undefined;
    const { perSecond } = this.#pace;
    const share = total ? `${Math.floor((100 * done) / total)} % of ${formatBytes(total)}` : formatBytes(done);
    return `Fetching ${names}: ${share}${perSecond > 0 ? `, ${formatBytes(perSecond)}/s` : ""}`;
  }
}

const shortName = (source: string): string => (/^(hf|civitai):/.test(source) ? source : basename(source.replace(/\?.*$/, "")));

export function describeReport({
  name,
  changedTensors,
  tensors,
  coverage,
  leftOut = [],
  written,
  upToDate,
  afterMs,
  sizeBytes,
  estimateMs,
  toFetch,
  verified,
}: MergeReport): string {
  if (upToDate) return `${name} is up to date`;
  if (toFetch) return `${name} would fetch ${toFetch.map(({ source, sizeBytes: size }) => `${source} (${formatBytes(size)})`).join(", ")} first`;
  const parts = coverage.map(({ lora, matched, unmatched, skipped, note }) => {
    const counts = Object.entries(matched).map(([part, count]) => `${part} ${count}`);
    const rest = [unmatched > 0 && `${unmatched} unmatched`, skipped.length > 0 && `${skipped.length} skipped`, note].filter(Boolean);
    return `${basename(lora)}: ${[...counts, ...rest].join(", ")}`;
  });
  const estimate = estimateMs === undefined ? "" : `, about ${formatDuration(estimateMs)}`;
  const verb = written ? `merged in ${formatDuration(afterMs ?? 0)}` : `would be merged, ${formatBytes(sizeBytes)}${estimate}`;
  const changes = `${changedTensors} of ${tensors} tensors changed${parts.length > 0 ? ` (${parts.join("; ")})` : ""}`;
  const more = leftOut.length > 5 ? ` and ${leftOut.length - 5} more` : "";
  const rest = leftOut.length > 0 ? `; left out: ${leftOut.slice(0, 5).join(", ")}${more}` : "";
  return `${name} ${verb}: ${changes}${verified ? ", verified" : ""}${rest}`;
}

import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Config } from "../src/config/schema/index.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import type { EventBus } from "../src/events/bus.ts";
import { outputPath } from "../src/jobs/sources/file-output.ts";
import type { TestRun } from "../src/plan/test-run.ts";
import { type Args, type Flag, type Io, textFlag } from "./command.ts";

export const testFlags: readonly Flag[] = [
  { usage: "--test-input <file>", summary: "Run the one job of this file, print its result and end: 0 when it succeeded, else 1" },
  { usage: "--watch", summary: "With --test-input: run it again after each change of it or of the handler" },
];

/** What the flags say; undefined without --test-input. */
export function testRunOf(args: Args, { cwd }: Pick<Io, "cwd">, { engines, runtimeDir }: Pick<Config, "engines" | "runtimeDir">): TestRun | undefined {
  const file = textFlag(args, "testInput");
  const watches = args.flags["watch"] === true;
  if (file === undefined) {
    if (watches)
      throw new FettleError("cli.bad-value", "Cannot use --watch: it goes with --test-input.", { hint: "fettle start --test-input test_input.json --watch" });
    return undefined;
  }
  const handlers = Object.values(engines).flatMap((engine) =>
    engine.kind === "python" ? [engine.handler].flat().map((path) => resolve(cwd, engine.cwd ?? ".", path)) : [],
  );
  return { path: resolve(cwd, file), dir: join(runtimeDir, `test-${process.pid}`), ...(watches && { watch: [...handlers, ...foldersOf(handlers)] }) };
}

/** Modules beside a handler count as its own, but not a whole machine below a handler that lies in its root. */
function foldersOf(handlers: readonly string[]): string[] {
  return [...new Set(handlers.map((path) => dirname(path)))].filter((folder) => folder !== "/");
}

/** An observer: prints the result of each job that came from a file, as it was written beside it. */
export function printResults(bus: EventBus, path: string, out: Io["out"]): () => void {
  return bus.observe((event) => {
    if (event.type === "job.sent" && event.source === "file") out(`${readFileSync(outputPath(path), "utf8")}\n`);
  });
}

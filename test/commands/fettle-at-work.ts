/** The whole program as a user starts it, on an engine that runs already. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectControl } from "../../src/control/client.ts";
import { createFacts } from "../doubles/facts.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
export const runtime = process.versions["deno"] === undefined ? [main] : ["run", "-A", main];
export const limit = () => ({ signal: AbortSignal.timeout(30_000) });

/** `engine` is the URL of one that runs, or YAML for one to launch; `sources` is YAML; `dir` is where a former one stood. */
export async function startFettle(
  engine: string,
  sources: string,
  { env = {}, more = "", dir = mkdtempSync(join(tmpdir(), "fettle-work-")) }: { env?: Record<string, string>; more?: string; dir?: string } = {},
) {
  const config = join(dir, "fettle.yaml");
  writeFileSync(
    config,
    `engines: { noop: ${engine.startsWith("http") ? `{ kind: a1111, url: "${engine}" }` : engine} }
sources: ${sources}
health: { enabled: false }
log: { level: debug, format: plain }
stateDir: ${dir}/state
logDir: ${dir}/log
runtimeDir: ${dir}/run
${more}
`,
  );
  const child = spawn(process.execPath, [...runtime, "start", "--config", config], {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  const facts = createFacts(() => log);
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
    facts.changed();
  });
  const exited = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  const stop = async () => {
    // Not child.kill: Deno then reports the signal as the ending, whatever the child made of it.
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(child.pid, "SIGTERM");
    return (await exited)[0];
  };
  return {
    dir,
    pid: child.pid ?? 0,
    exited,
    stop,
    untilLog: (pattern: RegExp) => facts.until(`a line like ${pattern}`, () => pattern.exec(log) ?? undefined, limit()),
    workerPid: async () => (await connectControl(join(dir, "run", "control.sock")).snapshot()).services.find(({ name }) => name === "worker")?.pid ?? 0,
    async [Symbol.asyncDispose]() {
      await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

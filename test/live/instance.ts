/** A real `fettle start` with folders and ports of its own, for suites that need real engines. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Snapshot } from "../../src/control/protocol.ts";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** The compiled binary when the caller names one, else this source on the runtime that runs the suite. */
function fettle(...args: string[]): [string, string[]] {
  const binary = process.env["FETTLE_BINARY"];
  if (binary) return [binary, args];
  return [process.execPath, [...(process.versions["deno"] === undefined ? [] : ["run", "-A"]), main, ...args]];
}

export interface Instance extends AsyncDisposable {
  readonly snapshot: Snapshot;
  /** Where the engine of this name listens. */
  engineUrl(name: string): string;
  /** Sends a job to /runsync of the job API. */
  runsync(input: unknown): Promise<{ status: string; output?: Record<string, unknown>; error?: string }>;
}

/** `engines` is the configuration's part of that name. Resolves when everything is ready; its log is shown when it does not get there. */
export async function startInstance(engines: Readonly<Record<string, unknown>>): Promise<Instance> {
  const dir = mkdtempSync(join(tmpdir(), "fettle-live-"));
  const places = { stateDir: join(dir, "state"), logDir: join(dir, "log"), runtimeDir: join(dir, "run") };
  writeFileSync(join(dir, "fettle.yaml"), JSON.stringify({ ...places, engines, sources: { http: { port: 0 } }, health: { port: 0 } }));
  const config = ["--config", join(dir, "fettle.yaml")];
  const [command, args] = fettle("start", ...config, "--log-format", "plain");
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = once(child, "close");
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(child.pid ?? 0, "SIGTERM");
    await ended;
    rmSync(dir, { recursive: true, force: true });
  };
  const [ask, asking] = fettle("health", ...config, "--wait", "300s", "--json");
  const health = spawnSync(ask, asking, { encoding: "utf8" });
  if (health.status !== 0) {
    await stop();
    throw new Error(`fettle start did not become ready:\n${said}`);
  }
  const snapshot = JSON.parse(health.stdout) as Snapshot;
  return {
    snapshot,
    engineUrl(name) {
      const found = snapshot.engines.find((engine) => engine.name === name);
      if (!found) throw new Error(`there is no engine ${name}`);
      return found.url;
    },
    async runsync(input) {
      const response = await fetch(`${snapshot.jobApi}/runsync`, { method: "POST", body: JSON.stringify({ input }) });
      return (await response.json()) as { status: string; output?: Record<string, unknown>; error?: string };
    },
    [Symbol.asyncDispose]: stop,
  };
}

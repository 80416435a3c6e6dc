import { resolve } from "node:path";
import { defaultFolders } from "../src/config/defaults.ts";
import { connectControl, type ControlClient } from "../src/control/client.ts";
import { socketName, type Snapshot } from "../src/control/protocol.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { type Args, type Flag, type Io, textFlag } from "./command.ts";

/** Flags of the commands that talk to a running fettle. */
export const instanceFlags: readonly Flag[] = [
  { usage: "--runtime-dir <dir>", summary: "Where the running fettle keeps its control socket; default $FETTLE_RUNTIME_DIR, /run/fettle" },
  { usage: "--config <file>", summary: "Take the runtimeDir from this configuration" },
];

export interface Instance {
  readonly control: ControlClient;
  readonly snapshot: Snapshot;
}

/**
 * The running fettle: named by a flag or the environment, else at the default place, else where the configuration says.
 * The configuration is read last, because the YAML and schema libraries take longer than all the rest.
 */
export async function findInstance(args: Args, io: Pick<Io, "env" | "cwd">, { signal }: { signal?: AbortSignal } = {}): Promise<Instance> {
  const named = textFlag(args, "runtimeDir");
  if (named !== undefined) return await ask(resolve(io.cwd, named), signal);
  if (textFlag(args, "config") !== undefined) return await ask(await configured(args, io), signal);
  const dir = io.env["FETTLE_RUNTIME_DIR"] || defaultFolders(io.env, process.getuid?.() ?? 0).runtimeDir;
  try {
    return await ask(resolve(io.cwd, dir), signal);
  } catch (error) {
    if (!(error instanceof FettleError && error.code === "supervise.no-instance") || io.env["FETTLE_RUNTIME_DIR"]) throw error;
    // A configuration that cannot be read is no help here: what counts is that nothing answers.
    const other = await configured(args, io).catch(() => undefined);
    if (other === undefined || other === dir) throw error;
    return await ask(other, signal);
  }
}

/** A supervisor that does not answer within this counts as none. */
const answerMs = 5000;

async function ask(runtimeDir: string, signal: AbortSignal | undefined): Promise<Instance> {
  const path = `${runtimeDir}/${socketName}`;
  const control = connectControl(path);
  const patience = new AbortController();
  const cut = () => patience.abort(signal?.reason);
  const late = () => patience.abort(new FettleError("supervise.no-instance", `Cannot reach fettle at ${path}: no answer within ${answerMs / 1000} s.`));
  const timer = setTimeout(late, answerMs);
  signal?.addEventListener("abort", cut, { once: true });
  try {
    return { control, snapshot: await control.snapshot({ signal: patience.signal }) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", cut);
  }
}

async function configured(args: Args, io: Pick<Io, "env" | "cwd">): Promise<string> {
  const { loadFromArgs } = await import("./load-config.ts");
  return loadFromArgs(args, io).config.runtimeDir;
}

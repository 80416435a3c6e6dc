import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { socketName } from "../control/protocol.ts";
import { type Answer, serve, type Served } from "./serve.ts";

/** A living supervisor answers within this. */
const answerMs = 2000;

/** Makes the folder for the socket and the PID files, for this user alone. One that exists keeps its rights: it may be /tmp. */
export function createRuntimeDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new FettleError("supervise.cannot-write", `Cannot use the runtime folder ${dir}: ${reasonOf(error)}.`, {
      hint: "Set runtimeDir to a folder that this user owns.",
      cause: error,
    });
  }
}

/** Answers on the folder's control socket. A socket that answers is another fettle's: refused; a dead one is replaced. */
export async function claimSocket(answer: Answer, dir: string): Promise<Served & { readonly path: string }> {
  const path = join(dir, socketName);
  if (existsSync(path) && (await answers(path)))
    throw new FettleError("supervise.already-running", `Cannot start: another fettle runs with ${dir}.`, { details: { runtimeDir: dir } });
  try {
    rmSync(path, { force: true });
    return { path, ...(await serve(answer, { socketPath: path })) };
  } catch (error) {
    throw new FettleError("supervise.cannot-write", `Cannot listen on ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

/**
 * A connection alone proves nothing: children of a supervisor that was killed may still hold its listening socket
 * (Deno does not close it on exec), so that the kernel accepts what nobody will answer.
 */
async function answers(path: string): Promise<boolean> {
  const { connectControl } = await import("../control/client.ts");
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), answerMs);
  try {
    await connectControl(path).snapshot({ signal: patience.signal });
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

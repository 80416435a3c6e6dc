import { chmodSync, mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import { connectControl } from "../control/client.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { socketName } from "../control/protocol.ts";

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

/** Listens on the folder's control socket. A socket that answers is another fettle's: refused; a dead one is replaced. */
export async function claimSocket(server: Server, dir: string): Promise<string> {
  const path = join(dir, socketName);
  if (await answers(path))
    throw new FettleError("supervise.already-running", `Cannot start: another fettle runs with ${dir}.`, { details: { runtimeDir: dir } });
  try {
    rmSync(path, { force: true });
    const umask = process.umask(0o177);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
    }).finally(() => process.umask(umask));
    chmodSync(path, 0o600);
  } catch (error) {
    throw new FettleError("supervise.cannot-write", `Cannot listen on ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  return path;
}

/**
 * A connection alone proves nothing: children of a supervisor that was killed may still hold its listening socket
 * (Deno does not close it on exec), so that the kernel accepts what nobody will answer.
 */
async function answers(path: string): Promise<boolean> {
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

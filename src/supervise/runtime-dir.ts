import { chmodSync, mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { socketName } from "../control/protocol.ts";

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

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", () => end(true)).once("error", () => end(false));
  });
}

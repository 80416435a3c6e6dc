import { accessSync, constants } from "node:fs";
import { selfArgv } from "../../util/self-argv.ts";

/** Debian and most images, static Debian, Alpine, Docker's own copy of tini. */
const places = ["/usr/bin/tini", "/usr/bin/tini-static", "/sbin/tini", "/usr/sbin/tini", "/tini", "/usr/bin/docker-init"];

/**
 * As PID 1, puts tini in front: it replaces this process and starts this program anew below itself. Returns where that is not
 * possible: no tini in the image, or a runtime without execve; then fettle itself does an init's work (init.ts).
 */
export function putInitInFront(args: readonly string[], env: Readonly<Record<string, string | undefined>>): void {
  const execve = process.execve?.bind(process);
  const tini = places.find(isProgram);
  if (process.pid !== 1 || !execve || tini === undefined) return;
  const defined = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  try {
    execve(tini, ["tini", "--", ...selfArgv(), ...args], Object.fromEntries(defined));
  } catch {
    // A file that cannot be run here, such as another architecture's: go on without it.
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

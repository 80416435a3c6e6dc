import { mkdirSync, statfsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";

/** Where a worker keeps its journal and results, and how the journal must write there. */
export interface JournalPlace {
  readonly databasePath: string;
  readonly resultsDir: string;
  /** Empty folders for the attempts' spooled files; what a dead worker left there is removed at the next start. */
  readonly attemptsDir: string;
  /** SQLite's WAL needs shared memory and real locks, which network filesystems do not give. */
  readonly journalMode: "wal" | "delete";
  readonly warning?: { readonly message: string; readonly hint: string };
}

/** statfs magic numbers (linux/magic.h and the filesystems' own headers). FUSE is counted in: RunPod's volumes are MooseFS over FUSE. */
const networkTypes = new Set([0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x00c36400, 0x65735546, 0x5346414f, 0x0bd00bd0, 0x47504653, 0x01021997, 0x19830326]);
const overlayType = 0x794c7630;

/**
 * Makes the folders under `stateDir`. On a network filesystem each machine gets a folder of its own, named by its host name:
 * many machines share such a volume, and one must not run another's jobs.
 */
export function prepareJournalPlace(stateDir: string): JournalPlace {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const type = Number(statfsSync(stateDir).type) >>> 0;
    const network = networkTypes.has(type);
    const root = network ? join(stateDir, "machines", hostname().replaceAll(/[^\w.-]/g, "_") || "unnamed") : stateDir;
    const place = { databasePath: join(root, "journal", "jobs.sqlite"), resultsDir: join(root, "results"), attemptsDir: join(root, "attempts") };
    for (const dir of [join(root, "journal"), place.resultsDir, place.attemptsDir]) mkdirSync(dir, { recursive: true, mode: 0o700 });
    return { ...place, journalMode: network ? "delete" : "wal", ...warningFor(stateDir, type, network) };
  } catch (error) {
    throw new FettleError("machine.state-dir", `Cannot use the state folder ${stateDir}: ${reasonOf(error)}.`, { cause: error });
  }
}

function warningFor(stateDir: string, type: number, network: boolean): Pick<JournalPlace, "warning"> {
  if (type === overlayType) {
    const hint = "Mount a volume there; accepted jobs are lost when the container is removed.";
    return { warning: { message: `The journal in ${stateDir} lies on the container's own layer.`, hint } };
  }
  if (!network) return {};
  return { warning: { message: `The journal in ${stateDir} lies on a network volume, which is slow.`, hint: "Set stateDir to a local disk." } };
}

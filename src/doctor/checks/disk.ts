import { randomBytes } from "node:crypto";
import type { StatsFs } from "node:fs";
import { open, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { reasonOf } from "../../errors/fettle-error.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";
import { formatBytes, gigabyte } from "../../util/bytes.ts";

export const diskChecks: readonly Check[] = [
  { id: "disk.writable", subject: "disk", title: "writable", needs: ["config.valid"], check: writable },
  { id: "disk.space", subject: "disk", title: "space", needs: ["config.valid"], check: space },
  { id: "disk.inodes", subject: "disk", title: "inodes", needs: ["config.valid"], check: inodes },
];

const fewBytes = 10 * gigabyte;
const tooFewBytes = gigabyte;
/** RunPod's own worker refuses to start with less of `/` free. */
const runpodShare = 0.1;
const fewInodes = 0.02;

function folders({ valid }: Patient): [string, string][] {
  const { stateDir, logDir, runtimeDir } = valid;
  return [
    ["stateDir", stateDir],
    ["logDir", logDir],
    ["runtimeDir", runtimeDir],
    ...(valid.results.files ? [["results.files.dir", valid.results.files.dir] as [string, string]] : []),
  ];
}

async function writable(patient: Patient): Promise<Finding[]> {
  return await Promise.all(
    folders(patient).map(async ([key, dir]) => {
      const existing = await nearestExisting(dir);
      const note = existing === dir ? dir : `${dir} (will be made in ${existing})`;
      const reason = await writeTest(existing);
      if (reason === undefined) return about(key, ok(note));
      return about(
        key,
        critical(
          `${note}: ${reason}`,
          reason.startsWith("no space") ? "Free some space there." : `mkdir -p ${dir} && chown ${process.getuid?.() ?? 0} ${dir}, or set ${key}`,
        ),
      );
    }),
  );
}

export async function nearestExisting(dir: string): Promise<string> {
  const found = await stat(dir).catch(() => undefined);
  return found !== undefined || dir === dirname(dir) ? dir : await nearestExisting(dirname(dir));
}

/** More than a block, so that a full disk and a used-up quota show. */
const testBytes = 64 * 1024;

/** Creates, writes, flushes and removes a file; gives the reason why that fails. */
export async function writeTest(dir: string): Promise<string | undefined> {
  if (!(await stat(dir)).isDirectory()) return "it is no folder";
  const path = join(dir, `.fettle-doctor-${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    await using file = await open(path, "wx", 0o600);
    await file.writeFile(Buffer.alloc(testBytes));
    await file.sync();
    return undefined;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EDQUOT") return "no space left in the quota";
    return code === "EROFS" ? "it is mounted read-only" : reasonOf(error);
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

/** The disks under fettle's folders, the root and the temporary folder: each once, by its device, named by the first folder on it. */
async function disks(patient: Patient): Promise<{ key: string; dir: string; disk: StatsFs }[]> {
  const seen = new Set<number>();
  const found = [];
  for (const [key, wanted] of [...folders(patient), ["/", "/"], ["/tmp", patient.env["TMPDIR"] || "/tmp"]] as [string, string][]) {
    const dir = await nearestExisting(wanted);
    const { dev } = await stat(dir);
    if (seen.has(dev)) continue;
    seen.add(dev);
    found.push({ key, dir, disk: await statfs(dir) });
  }
  return found;
}

async function space(patient: Patient): Promise<Finding[]> {
  const onRunpod = Boolean(patient.env["RUNPOD_POD_ID"] ?? patient.env["RUNPOD_ENDPOINT_ID"]);
  const isMemory = new Set([0x01021994]);
  return (await disks(patient)).map(({ key, dir, disk }) => {
    const freeBytes = disk.bavail * disk.bsize;
    const sizeBytes = disk.blocks * disk.bsize;
    const text = `${formatBytes(freeBytes)} free of ${formatBytes(sizeBytes)} at ${dir}`;
    const facts = { dir, freeBytes, sizeBytes };
    if (sizeBytes === 0) return about(key, notChecked(`${dir} does not say its size`));
    const fix = "Give it a larger disk, or clear caches: pip cache purge; rm -rf ~/.cache/huggingface";
    // A runtime folder on tmpfs holds a socket and some numbers.
    if (isMemory.has(disk.type) && key !== "stateDir")
      return about(key, freeBytes > 1e6 ? ok(text, facts) : critical(text, `Free some space in ${dir}.`, facts));
    if (freeBytes < tooFewBytes) return about(key, (key === "stateDir" ? critical : warning)(`${text}: jobs and results will not fit`, fix, facts));
    if (freeBytes < fewBytes) return about(key, warning(`${text}: a checkpoint hardly fits`, fix, facts));
    if (onRunpod && freeBytes < runpodShare * sizeBytes) return about(key, warning(`${text}: RunPod wants 10 % free`, fix, facts));
    return about(key, ok(text, facts));
  });
}

async function inodes(patient: Patient): Promise<Finding[]> {
  return (await disks(patient)).map(({ key, dir, disk }) => {
    // btrfs and some network volumes have no fixed number and say 0.
    if (!(disk.files > 0)) return about(key, notChecked(`${dir} has no fixed number of files`));
    const share = disk.ffree / disk.files;
    const text = `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} % free at ${dir}`;
    return about(key, share < fewInodes ? warning(`${text}: soon no file can be made`, "Remove folders with many small files, such as caches.") : ok(text));
  });
}

import { open, stat, statfs } from "node:fs/promises";
import { readCgroupLimits } from "../../machine/cgroup.ts";
import { pickTcmalloc } from "../../machine/tcmalloc.ts";
import { about, type Check, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";
import { troubleOf } from "../program.ts";
import { formatBytes, gigabyte, mebibyte } from "../../util/bytes.ts";

export const memoryChecks: readonly Check[] = [
  { id: "memory.limit", subject: "memory", title: "memory", check: limit },
  { id: "memory.shm", subject: "memory", title: "/dev/shm", check: sharedMemory },
  { id: "memory.tcmalloc", subject: "memory", title: "tcmalloc", needs: ["config.valid"], check: tcmalloc },
  { id: "memory.preload", subject: "memory", title: "LD_PRELOAD", check: preload },
];

/** RunPod's own worker refuses to start with less. */
const leastBytes = 4 * gigabyte;

async function limit({ at, read }: Patient): Promise<Finding> {
  const machine = Number(/^MemTotal:\s+(\d+)/m.exec((await read("/proc/meminfo")) ?? "")?.[1]) * 1024;
  const { memoryBytes } = readCgroupLimits({ root: at("/sys/fs/cgroup") });
  if (!(machine > 0) && memoryBytes === undefined) return notChecked("neither /proc/meminfo nor the cgroup says how much there is");
  const usable = Math.min(memoryBytes ?? Number.POSITIVE_INFINITY, machine > 0 ? machine : Number.POSITIVE_INFINITY);
  const facts = { machineBytes: machine > 0 ? machine : null, limitBytes: memoryBytes ?? null };
  const text =
    memoryBytes === undefined || memoryBytes >= machine
      ? `${formatBytes(usable)}, no limit`
      : `limited to ${formatBytes(usable)} of the machine's ${formatBytes(machine)}`;
  const kills = Number(/^oom_kill (\d+)/m.exec((await read("/sys/fs/cgroup/memory.events")) ?? "")?.[1] ?? 0);
  if (kills > 0)
    return warning(
      `${text}; the kernel has killed ${kills} of this container's processes for memory`,
      "Give the container more memory, or load a smaller model.",
      { ...facts, kills },
    );
  if (usable < leastBytes) return warning(`${text}: under ${formatBytes(leastBytes)} a model hardly loads`, "docker run --memory 16g …", facts);
  return ok(text, facts);
}

async function sharedMemory({ at }: Patient): Promise<Finding> {
  const fix = "docker run --shm-size=8g …";
  try {
    const { blocks, bavail, bsize } = await statfs(at("/dev/shm"));
    const facts = { sizeBytes: blocks * bsize, freeBytes: bavail * bsize };
    const text = `${formatBytes(facts.sizeBytes)}, ${formatBytes(facts.freeBytes)} free`;
    if (facts.freeBytes < 32 * mebibyte) return warning(text, fix, facts);
    return ok(facts.sizeBytes < gigabyte ? `${text}: enough to generate, too little for training` : text, facts);
  } catch {
    return warning("there is none; Python's multiprocessing fails without it", fix);
  }
}

async function tcmalloc(patient: Patient): Promise<Finding> {
  const wanting = patient.engines.filter(([, { allocator }]) => allocator === "tcmalloc").map(([name]) => name);
  if (wanting.length === 0) return notChecked("no engine of this configuration preloads it");
  const listing = await patient.libraries();
  const trouble = troubleOf("ldconfig -p", listing);
  if (trouble !== undefined || listing.type !== "ended") return notChecked(trouble ?? "");
  const path = pickTcmalloc(listing.stdout, process.arch);
  if (path !== undefined) return ok(path, { path });
  const other = /^\s*libtcmalloc\S* \(([^)]*)\)/m.exec(listing.stdout)?.[1];
  return warning(
    `${other === undefined ? "not installed" : `installed only for another architecture (${other})`}; ${wanting.join(", ")} starts without it and keeps more memory`,
    "apt-get install -y libtcmalloc-minimal4",
  );
}

/** What stands first in an ELF file for each architecture that fettle is built for. */
const machines: Readonly<Record<number, string>> = { 62: "x64", 183: "arm64" };

async function preload(patient: Patient): Promise<Finding | Finding[]> {
  const engines = patient.config.type === "loaded" ? patient.engines : [];
  const given = new Map<string, string>();
  if (patient.env["LD_PRELOAD"]) given.set("fettle", patient.env["LD_PRELOAD"]);
  for (const [name, { env }] of engines) if (env["LD_PRELOAD"]) given.set(name, env["LD_PRELOAD"]);
  if (given.size === 0) return ok("not set");
  return await Promise.all(
    [...given].map(async ([who, value]) => {
      const troubles = await Promise.all(
        value
          .split(/[\s:]+/)
          .filter(Boolean)
          .map((file) => troubleOfLibrary(patient, file)),
      );
      const trouble = troubles.filter((one) => one !== undefined).join("; ");
      const fix = who === "fettle" ? "unset LD_PRELOAD" : `Correct engines.${who}.env.LD_PRELOAD.`;
      return about(who, trouble === "" ? ok(value) : warning(`${trouble}; every program started with it complains, and runs without it`, fix, { value }));
    }),
  );
}

async function troubleOfLibrary(patient: Patient, file: string): Promise<string | undefined> {
  if (!file.includes("/")) {
    const listing = await patient.libraries();
    if (listing.type !== "ended" || listing.code !== 0) return undefined;
    return listing.stdout.split("\n").some((line) => line.trim().startsWith(`${file} `)) ? undefined : `ldconfig knows no ${file}`;
  }
  try {
    if (!(await stat(patient.at(file))).isFile()) return `${file} is no file`;
    await using handle = await open(patient.at(file));
    const head = Buffer.alloc(20);
    await handle.read(head, 0, 20, 0);
    if (head.toString("latin1", 0, 4) !== "\u007fELF") return `${file} is no library`;
    const machine = machines[head.readUInt16LE(18)];
    return machine === process.arch ? undefined : `${file} is for another architecture (${machine ?? "unknown"})`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? `${file} does not exist` : `${file} cannot be read`;
  }
}

import { readdir, readFile, readlink } from "node:fs/promises";
import { basename } from "node:path";

/** One row of a process table. */
export interface ProcessStat {
  readonly pid: number;
  readonly name: string;
  readonly state: string;
  readonly parent: number;
  readonly startTicks: number;
}

/** Everything under `proc` (/proc, or a test's own); a process that ends meanwhile is left out. */
export async function listProcesses(proc: string): Promise<ProcessStat[]> {
  const names = await readdir(proc).catch(() => []);
  const rows = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map((name) => readStat(proc, Number(name))));
  return rows.filter((row) => row !== undefined);
}

async function readStat(proc: string, pid: number): Promise<ProcessStat | undefined> {
  const stat = await readFile(`${proc}/${pid}/stat`, "latin1").catch(() => undefined);
  if (stat === undefined) return undefined;
  // The name stands in parentheses and may hold spaces and parentheses of its own.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    name: stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")),
    state: fields[0] ?? "?",
    parent: Number(fields[1]),
    startTicks: Number(fields[19]),
  };
}

/** Is `pid` this ancestor or one of its descendants? */
export function descendsFrom(table: readonly ProcessStat[], pid: number, ancestor: number): boolean {
  const parents = new Map(table.map((row) => [row.pid, row.parent]));
  for (let at: number | undefined = pid; at !== undefined && at > 0; at = parents.get(at)) if (at === ancestor) return true;
  return false;
}

/** Program and script, such as `python3 webui.py`. Flags are left out: they may hold secrets. */
export async function describeProcess(proc: string, pid: number): Promise<string> {
  const text = await readFile(`${proc}/${pid}/cmdline`, "utf8").catch(() => "");
  const [program, ...args] = text.split("\0");
  if (!program) return (await readFile(`${proc}/${pid}/comm`, "utf8").catch(() => "unknown")).trim();
  const script = args.find((word) => /^[^-=:@]+\.(py|ts|js|mjs|jar|sh)$/.test(word));
  return [basename(program.split(" ")[0] ?? program), ...(script === undefined ? [] : [basename(script)])].join(" ");
}

/** Which process holds each of these sockets. Another user's processes cannot be looked into. */
export async function ownersOf(proc: string, inodes: ReadonlySet<string>): Promise<Map<string, number>> {
  const owners = new Map<string, number>();
  const pids = (await readdir(proc).catch(() => [])).filter((name) => /^\d+$/.test(name));
  await Promise.all(
    pids.map(async (pid) => {
      const fds = await readdir(`${proc}/${pid}/fd`).catch(() => []);
      for (const fd of fds) {
        const inode = /^socket:\[(\d+)\]$/.exec(await readlink(`${proc}/${pid}/fd/${fd}`).catch(() => ""))?.[1];
        // Inherited by children too: the lowest pid is most likely the one that opened it.
        if (inode !== undefined && inodes.has(inode)) owners.set(inode, Math.min(Number(pid), owners.get(inode) ?? Number.POSITIVE_INFINITY));
      }
    }),
  );
  return owners;
}

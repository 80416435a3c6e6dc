/** Memory of a process tree as Linux counts it: the proportional set size (PSS), where shared pages are split among their users. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";

const mib = 1024;

/** A process and all its descendants, from /proc. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // It ended while we looked.
    }
  }
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** PSS of the tree in MiB. */
export function treePssMib(root: number, tree = processTree(root)): number {
  return tree.reduce((sum, pid) => sum + readKib(`/proc/${pid}/smaps_rollup`, "Pss"), 0) / mib;
}

/** Each process of the tree with its own PSS, to see who holds what. */
export function pssByProcess(root: number): { pid: number; command: string; pssMib: number }[] {
  return processTree(root).map((pid) => ({ pid, command: commandOf(pid), pssMib: readKib(`/proc/${pid}/smaps_rollup`, "Pss") / mib }));
}

/** Processes outside the tree that run the same program: they share its pages, so the tree's PSS reads lower than it is. */
export function strangersSharing(root: number): number {
  const program = programOf(String(root));
  const tree = new Set(processTree(root).map(String));
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && !tree.has(name) && programOf(name) === program).length;
}

function programOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

/** Seconds of CPU the tree has used so far. */
export function treeCpuSeconds(root: number): number {
  let ticks = 0;
  for (const pid of processTree(root)) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended while we looked.
    }
  }
  return ticks / 100;
}

export type PssWatch = { stop: () => Promise<{ peakMib: number; samples: number }> };

/** Samples the tree's PSS every 20 ms from a process of its own, so that this one's work does not thin out the samples. */
export function watchPss(root: number): PssWatch {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--watch", String(root)], { stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise((resolve) => child.once("close", resolve));
  return {
    async stop() {
      child.stdin.end();
      await ended;
      return JSON.parse(text) as { peakMib: number; samples: number };
    },
  };
}

function readKib(path: string, key: string): number {
  try {
    return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(readFileSync(path, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").replace(/\s+/g, " ").trim();
  } catch {
    return "";
  }
}

if (process.argv[2] === "--watch" && process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = Number(process.argv[3]);
  let peakMib = 0;
  let samples = 0;
  const timer = setInterval(() => {
    samples += 1;
    peakMib = Math.max(peakMib, treePssMib(root));
  }, 20);
  process.stdin.resume();
  process.stdin.once("end", () => {
    clearInterval(timer);
    process.stdout.write(JSON.stringify({ peakMib, samples }));
  });
}

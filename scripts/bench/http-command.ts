import { benchHttp } from "./http.ts";
import { short } from "./stats.ts";

/** The target of the event loop's longest standstill with four 15 MB results in flight, ms. */
const targetMs = 25;

/** Prints the stalls of the worker's event loop; 1 when the target is missed by the loop's own work. */
export async function httpCommand({ waves, json }: { waves: number; json: boolean }): Promise<number> {
  const report = await benchHttp(waves);
  const { wallMs, ownMs, cpuMs, idleWallMs } = report;
  if (json) process.stdout.write(`${JSON.stringify({ bench: "http", targetMs, ...report })}\n`);
  else {
    const lines = [
      `event loop, ${waves} waves of four 15 MB results through the job API (idle: ${short(idleWallMs)} ms)`,
      `  standstill by the wall clock   max ${short(wallMs.max)} ms   p99 ${short(wallMs.p99)} ms`,
      `  without the kernel's own queue max ${short(ownMs.max)} ms   p99 ${short(ownMs.p99)} ms   target ≤ ${targetMs} ms`,
      `  CPU time of the thread in it   max ${short(cpuMs.max)} ms   p99 ${short(cpuMs.p99)} ms`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  }
  return ownMs.max <= targetMs ? 0 : 1;
}

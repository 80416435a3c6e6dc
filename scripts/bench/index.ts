/**
 * Measures fettle beside what it replaces, in one run on this machine. `runpod` installs nothing: `--python` names a Python that has
 * `runpod` and `requests`; `supervise` brings s6, supervisord and PM2 with scripts/bench/rivals. Exit code 1 when a target is missed.
 */
import { accessSync, constants } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildFettle } from "./build-fettle.ts";
import { comfyuiCommand, hasComfyui } from "./comfyui/command.ts";
import { rowsUsage, runpodCommand } from "./runpod/command.ts";
import { superviseCommand } from "./supervise-command.ts";

const usage = `bun scripts/bench/index.ts [runpod | supervise | http | comfyui | merge] [options]

runpod: beside the runpod Python SDK, on a local platform; about 15 minutes
  --python PATH         a Python with runpod and requests (else $FETTLE_BENCH_PYTHON, else python3)
  --engine-python PATH  a Python with torch and diffusers, for batching and cache (else the same)
  --quick               a tenth of the jobs, without what takes long: about a minute and a half
  --rows LIST           only these:
${rowsUsage}
  --rounds N            interleaved rounds (2, with --quick 1)
  --keep                keep the workers' logs and print where

supervise: beside bash, s6, supervisord and PM2, with eight small services
  --rounds N            interleaved rounds (5), about a minute each
  --rivals LIST         bash,s6,supervisord,pm2; an empty list measures fettle alone
  --idle SECONDS        only the idle rows (CPU, memory), counted over so long

http: stalls of the event loop with 15 MB results, the worker in this process
  --waves N             waves of four results (10)

comfyui: a no-op prompt beside a bare Python client, on the ComfyUI of COMFYUI_DIR (with COMFYUI_PYTHON) or COMFYUI_URL
  --rounds N            interleaved rounds of 50 prompts a side (10)

merge: a full-size SDXL and two LoRAs beside cp; needs 25 GB in $TMPDIR
  --python PATH         a Python with numpy and torch
  --rounds N            interleaved rounds (3)
  --rivals LIST         diffusers (fuse and save: 20 GiB of memory), sd-mecha (9 GiB, some minutes; full size only)
  --tiny                the bundled tiny shapes, with diffusers; some seconds

runpod, supervise and comfyui
  --fettle PATH         the binary, or a .ts file to run with this runtime (default: this source, compiled for the run)
  --json                print one JSON value`;

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: process.env["FETTLE_BENCH_PYTHON"] ?? "python3" },
    "engine-python": { type: "string" },
    fettle: { type: "string" },
    quick: { type: "boolean", default: false },
    rows: { type: "string", default: "" },
    rounds: { type: "string" },
    rivals: { type: "string", default: "bash,s6,supervisord,pm2" },
    idle: { type: "string" },
    waves: { type: "string", default: "10" },
    keep: { type: "boolean", default: false },
    tiny: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const benches: Readonly<Record<string, () => Promise<number>>> = {
  runpod: () => withFettle(runpod),
  supervise: () => withFettle(supervise),
  comfyui: async () => (hasComfyui(process.env, say) ? await withFettle(comfyui) : 0),
  async http() {
    const { httpCommand } = await import("./http-command.ts");
    return await httpCommand({ waves: Number(flags.waves), json: flags.json });
  },
  async merge() {
    const { benchMerge } = await import("./merge.ts");
    const { python, tiny, json } = flags;
    return benchMerge({ python, tiny, json, say, rounds: Number(flags.rounds ?? 3), rivals: flags.rivals.split(",") });
  },
};

async function main(): Promise<number> {
  if (flags.help) return (say(usage), 0);
  const [name = "runpod"] = positionals;
  const bench = benches[name];
  if (bench) return await bench();
  say(`There is no bench "${name}"; there are: ${Object.keys(benches).join(", ")}.`);
  return 2;
}

async function withFettle(bench: (fettle: string) => Promise<number>): Promise<number> {
  if (flags.fettle !== undefined) {
    const path = resolve(flags.fettle);
    if (!isThere(path)) return (say(`There is no ${path}; without --fettle this source is compiled.`), 2);
    return await bench(path);
  }
  using built = buildFettle();
  if (!built) return (say("This source does not compile; see above, or name a binary with --fettle."), 2);
  return await bench(built.path);
}

function runpod(fettle: string): Promise<number> {
  const { python, quick, keep, json } = flags;
  const rounds = flags.rounds === undefined ? undefined : Number(flags.rounds);
  return runpodCommand({
    fettle,
    python,
    enginePython: flags["engine-python"] ?? python,
    quick,
    rows: flags.rows.split(",").filter(Boolean),
    rounds,
    keep,
    json,
    say,
  });
}

function comfyui(fettle: string): Promise<number> {
  return comfyuiCommand({ fettle, env: process.env, rounds: Number(flags.rounds ?? 10), perRound: 50, json: flags.json, say });
}

function supervise(fettle: string): Promise<number> {
  const { python, json } = flags;
  const idle = flags.idle === undefined ? {} : { onlyIdleMs: Number(flags.idle) * 1000 };
  return superviseCommand({ fettle, python, rounds: Number(flags.rounds ?? 5), rivals: flags.rivals.split(",").filter(Boolean), json, say, ...idle });
}

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

process.exitCode = await main();

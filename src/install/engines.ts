import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { ComfyuiEngineConfig, Config } from "../config/schema/index.ts";
import { FettleError } from "../errors/fettle-error.ts";
import { outputOf } from "../machine/run-program.ts";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { pythonOf, requirementsStep, venvStep } from "./python-env.ts";
import type { Step, StepGroup } from "./step.ts";

export interface EngineInstall {
  readonly groups: readonly StepGroup[];
  /** Pythons that the configuration must name to use what was installed, by engine. */
  readonly pythons: Readonly<Record<string, string>>;
}

export interface EngineInstallOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The bundled diffusers engine's requirements.txt. */
  readonly diffusersRequirements: string;
}

/** What the engines of a configuration need that fettle can put in place. Engines given by url are somebody else's. */
export function engineSteps(config: Pick<Config, "engines" | "install" | "stateDir">, options: EngineInstallOptions): EngineInstall {
  const groups: StepGroup[] = [];
  const pythons: Record<string, string> = {};
  for (const [name, engine] of Object.entries(config.engines)) {
    if (!engine.enabled || engine.url !== undefined) continue;
    if (engine.kind === "a1111") groups.push({ limit: 1, steps: [programStep(name, engine.directory, "webui.py", "AUTOMATIC1111's stable-diffusion-webui")] });
    if (engine.kind === "comfyui") groups.push(...comfyuiGroups(name, engine, config, pythons));
    if (engine.kind !== "diffusers") continue;
    const place = venvOf(engine.python, join(config.stateDir, "venvs", name));
    const venv = { name, python: place.creator, directory: place.directory, env: options.env };
    const requirements = () => [writeRequirements(config.stateDir, options.diffusersRequirements)];
    groups.push({ limit: 1, steps: [venvStep(venv), requirementsStep(venv, requirements)].map((step) => unlessReady(step, engine.python)) });
    if (pythonOf(place.directory) !== engine.python) pythons[name] = pythonOf(place.directory);
  }
  return { groups, pythons };
}

/** `python: /opt/venv/bin/python` names the environment to make; a bare `python3` is only what makes it. */
function venvOf(python: string, fallback: string): { creator: string; directory: string } {
  const inVenv = isAbsolute(python) && /\/bin\/python[\d.]*$/.test(python) && !/^\/(usr|bin)\//.test(python);
  return inVenv ? { creator: "python3", directory: dirname(dirname(python)) } : { creator: python, directory: fallback };
}

/** A Python that has everything already (an image's own, a developer's) needs no environment of ours. */
function unlessReady(step: Step, python: string): Step {
  const ready = (signal: AbortSignal) => outputOf([python, "-c", hasEverything], { signal, timeoutMs: 60_000 });
  return { ...step, isDone: async ({ signal }) => (await ready(signal)) !== undefined || (await step.isDone({ signal })) };
}

// Looks for the packages without importing them: torch alone takes two seconds.
const hasEverything = [
  "import importlib.util as u, sys",
  "sys.exit(any(u.find_spec(n) is None for n in ('torch', 'diffusers', 'transformers', 'fastapi', 'uvicorn', 'PIL', 'safetensors', 'numpy')))",
].join("\n");

function writeRequirements(stateDir: string, text: string): string {
  const path = join(stateDir, `install/requirements-${createHash("sha256").update(text).digest("hex").slice(0, 12)}.txt`);
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path)) writeFileAtomic(path, text);
  return path;
}

/** `install.comfyui` puts one in place, and its engine only has to name the Python; any other must be there. */
function comfyuiGroups(name: string, engine: ComfyuiEngineConfig, { install }: Pick<Config, "install">, pythons: Record<string, string>): StepGroup[] {
  if (install.comfyui?.directory !== engine.directory) return [{ limit: 1, steps: [programStep(name, engine.directory, "main.py", "ComfyUI")] }];
  const python = pythonOf(join(engine.directory, ".venv"));
  if (engine.python !== python && join(engine.directory, engine.python) !== python) pythons[name] = python;
  return [];
}

/** The webui installs itself in the image's build; here it must only be there. */
function programStep(name: string, directory: string, program: string, what: string): Step {
  return {
    title: `find ${program} of ${name} in ${directory}`,
    isDone: async () => existsSync(join(directory, program)),
    async run() {
      throw new FettleError("install.failed", `Cannot find ${what} of ${name} in ${directory}: there is no ${program}.`, {
        hint: `Clone ${what} there${what === "ComfyUI" ? " (install.comfyui does)" : ""}, or name its folder in engines.NAME.directory.`,
      });
    },
  };
}

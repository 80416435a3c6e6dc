import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { outputOf } from "../machine/run-program.ts";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { runProgram } from "./run-program.ts";
import type { Step } from "./step.ts";

export interface PythonEnv {
  readonly name: string;
  /** The Python to make it with. */
  readonly python: string;
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export const pythonOf = (directory: string): string => join(directory, "bin/python");

/** Makes a virtual environment: with uv where it is installed (quick, and needs no ensurepip), else with the Python's own venv. */
export function venvStep({ name, python, directory, env }: PythonEnv): Step {
  const title = `make the virtual environment of ${name}`;
  return {
    title,
    async isDone({ signal }) {
      return existsSync(pythonOf(directory)) && (await outputOf([pythonOf(directory), "-c", ""], { signal, timeoutMs: 20_000 })) !== undefined;
    },
    async run(options) {
      const argv = (await hasUv(options.signal))
        ? ["uv", "venv", "--quiet", "--clear", "--python", python, directory]
        : [python, "-m", "venv", "--clear", directory];
      await runProgram(argv, { title, env, ...options });
    },
  };
}

/**
 * Installs requirement files in one go, so that what they ask for is resolved together. `files` is asked when the step's turn comes, because
 * clones bring them. Done means: these very texts were installed into this environment before.
 */
export function requirementsStep({ name, directory, env }: PythonEnv, files: () => readonly string[]): Step {
  const title = `install the requirements of ${name}`;
  const mark = join(directory, ".fettle-requirements");
  const wanted = () => {
    const hash = createHash("sha256");
    for (const file of files()) hash.update(`${file}\0`).update(readFileSync(file)).update("\0");
    return hash.digest("hex");
  };
  return {
    title,
    isDone: async () => existsSync(mark) && readFileSync(mark, "utf8").trim() === wanted(),
    async run(options) {
      const list = files().flatMap((file) => ["--requirement", file]);
      if (list.length > 0) {
        const python = pythonOf(directory);
        const argv = (await hasUv(options.signal))
          ? ["uv", "pip", "install", "--quiet", "--python", python, ...list]
          : [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", ...list];
        await runProgram(argv, { title, env, ...options });
      }
      writeFileAtomic(mark, `${wanted()}\n`);
    },
  };
}

async function hasUv(signal: AbortSignal): Promise<boolean> {
  return (await outputOf(["uv", "--version"], { signal })) !== undefined;
}

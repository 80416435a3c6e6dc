/** A patient made of real files: its own /proc, /sys and /dev, its own programs on the PATH, its own configuration. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import type { Check } from "../../src/doctor/check.ts";
import { checks } from "../../src/doctor/checks/index.ts";
import { createPatient } from "../../src/doctor/patient.ts";
import { type Diagnosis, runChecks } from "../../src/doctor/run-checks.ts";

export interface Ward {
  readonly dir: string;
  /** Writes a file below the folder and gives its path. */
  file(path: string, content: string | Buffer): string;
  /** Puts a shell script on the patient's PATH. */
  program(name: string, script: string): void;
  /** Runs the checks of this id or subject; the machine is the ward's own `root/` when `ownRoot` is set. */
  ask(
    only: string,
    options?: { yaml?: string; env?: Record<string, string>; ownRoot?: boolean; timeoutMs?: number; table?: readonly Check[] },
  ): Promise<Diagnosis[]>;
  [Symbol.dispose](): void;
}

export function createWard(): Ward {
  const dir = mkdtempSync(join(tmpdir(), "fettle-doctor-"));
  const ward: Ward = {
    dir,
    file(path, content) {
      const whole = join(dir, path);
      mkdirSync(dirname(whole), { recursive: true });
      writeFileSync(whole, content);
      return whole;
    },
    program(name, script) {
      chmodSync(ward.file(`bin/${name}`, `#!/bin/sh\n${script}\n`), 0o755);
    },
    async ask(only, { yaml = "extends: demo\n", env = {}, ownRoot = false, timeoutMs = 30_000, table = checks } = {}) {
      const all = { PATH: `${join(dir, "bin")}:/usr/bin:/bin`, FETTLE_STATE_DIR: join(dir, "state"), FETTLE_RUNTIME_DIR: join(dir, "run"), ...env };
      const loaded = loadConfig({ file: ward.file("fettle.yaml", yaml), env: all, cwd: dir });
      const { signal } = new AbortController();
      const root = ownRoot ? join(dir, "root") : "";
      const patient = createPatient({ env: all, cwd: dir, config: { type: "loaded", loaded }, signal, root });
      const asked = table.filter(({ id, subject }) => id === only || subject === only);
      return await runChecks(table, asked, patient, { signal, timeoutMs });
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
  return ward;
}

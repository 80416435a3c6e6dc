import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadedConfig, loadConfig, type LoadOptions } from "../../src/config/load.ts";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { formatError } from "../../src/errors/print.ts";

/** A folder of its own, gone after the test. */
export class Folder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), "fettle-config-"));

  write(name: string, content: string | Uint8Array): string {
    const path = join(this.path, name);
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Loads with nothing from outside: an empty environment, user 1000, an empty folder unless given. */
export function load(options: Partial<LoadOptions> = {}): LoadedConfig {
  using folder = new Folder();
  return loadConfig({ env: {}, cwd: folder.path, uid: 1000, ...options });
}

/** Loads `fettle.yaml` with this content. */
export function loadText(yaml: string | Uint8Array, options: Partial<LoadOptions> = {}): LoadedConfig {
  using folder = new Folder();
  folder.write("fettle.yaml", yaml);
  return load({ cwd: folder.path, ...options });
}

export function refusal(run: () => unknown): FettleError {
  try {
    run();
  } catch (error) {
    if (error instanceof FettleError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** What a person sees on a terminal of 80 columns. */
export const drawn = (run: () => unknown): string => formatError(refusal(run));

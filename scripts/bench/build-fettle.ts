import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export interface Built extends Disposable {
  readonly path: string;
}

/** The working tree as a binary in a folder of its own, which goes with it: what lies in dist/ may be older. Undefined when it does not compile. */
export function buildFettle(): Built | undefined {
  const dir = mkdtempSync(join(tmpdir(), "fettle-build-"));
  const leave = () => rmSync(dir, { recursive: true, force: true });
  const { status } = spawnSync(resolve(import.meta.dirname, "../build"), ["--into", dir], { stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0) return { path: join(dir, "fettle"), [Symbol.dispose]: leave };
  leave();
  return undefined;
}

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** What a folder is looked through for; results and caches that are written beside it must not count. */
const source = /\.py$/;
const passedOver = new Set(["node_modules", "__pycache__", "site-packages", "venv", "env"]);
const deepest = 8;
const mostFiles = 5000;

/** A text that is another one after any of these files, or any Python file in these folders, was changed, made or removed. */
export function stampsOf(paths: readonly string[]): string {
  const stamps: string[] = [];
  for (const path of paths) look(path, stamps, 0);
  return stamps.join("\n");
}

function look(path: string, stamps: string[], depth: number): void {
  if (stamps.length >= mostFiles) return;
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status?.isDirectory()) return void stamps.push(`${path} ${status ? `${status.mtimeMs} ${status.size}` : "missing"}`);
  if (depth > deepest) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory() && !entry.name.startsWith(".") && !passedOver.has(entry.name)) look(join(path, entry.name), stamps, depth + 1);
    else if (entry.isFile() && source.test(entry.name)) look(join(path, entry.name), stamps, depth);
  }
}

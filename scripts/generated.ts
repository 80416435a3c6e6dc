import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("..", import.meta.url));

export interface GeneratedFile {
  /** Relative to the repository. */
  readonly path: string;
  readonly content: string;
}

/** Writes the files, or with `check` names those that differ and makes this process end with 1. */
export function writeGenerated(files: readonly GeneratedFile[], check: boolean): void {
  for (const { path, content } of files) {
    const absolute = join(root, path);
    const same = existsSync(absolute) && readFileSync(absolute, "utf8") === content;
    if (same) continue;
    if (check) {
      process.stderr.write(`${path} is not what the sources say; run \`bun run generate\`.\n`);
      process.exitCode = 1;
      continue;
    }
    mkdirSync(dirname(absolute), { recursive: true });
    writeFileSync(absolute, content);
    process.stdout.write(`${path}\n`);
  }
}

import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** `ROOT/NAME-<hash of the files' content>`: another content has another folder. Nothing is written. */
export function unpackedDir(root: string, name: string, files: Readonly<Record<string, string>>): string {
  const hash = createHash("sha256");
  for (const [file, text] of Object.entries(files)) hash.update(`${file}\0${text}\0`);
  return join(root, `${name}-${hash.digest("hex").slice(0, 16)}`);
}

/**
 * Writes files that travel inside the binary to `unpackedDir` and gives that path; does nothing when it is there.
 * The folder appears whole by a rename, so processes that do this at the same moment do not disturb one another. Readable for everyone.
 * Throws the system's own error (a full disk, a folder without rights).
 */
export function unpackFiles(root: string, name: string, files: Readonly<Record<string, string>>): string {
  const dir = unpackedDir(root, name, files);
  if (existsSync(dir)) return dir;
  const work = `${dir}.${process.pid}-${randomBytes(3).toString("hex")}`;
  try {
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(work, file)), { recursive: true, mode: 0o755 });
      writeFileSync(join(work, file), text, { mode: 0o644 });
    }
    renameSync(work, dir);
  } catch (error) {
    rmSync(work, { recursive: true, force: true });
    // Another process was faster: its folder cannot be replaced, and need not be.
    if (!existsSync(dir)) throw error;
  }
  return dir;
}

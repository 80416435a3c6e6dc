import { createHash } from "node:crypto";
import { readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { sha256Of } from "./follow-hash.ts";

/** Hashes of local files, remembered as long as the file is the same by inode, size and both times. Losing them costs time only. */
export interface KnownHashes {
  get(path: string): string | undefined;
  remember(path: string, sha256: string): void;
  /** From memory, or by reading the file. */
  of(path: string): Promise<string>;
}

export function openKnownHashes(cacheDir: string): KnownHashes {
  const place = (path: string) => {
    const real = realpathSync(path);
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(real, { bigint: true });
    const key = createHash("sha256").update(real).digest("hex").slice(0, 32);
    return { file: join(cacheDir, "hashes", `${key}.json`), state: [dev, ino, size, mtimeNs, ctimeNs].join(" "), size: Number(size) };
  };
  const known: KnownHashes = {
    get(path) {
      try {
        const { file, state } = place(path);
        const noted = JSON.parse(readFileSync(file, "utf8")) as { state?: unknown; sha256?: unknown };
        return noted.state === state && typeof noted.sha256 === "string" && /^[0-9a-f]{64}$/.test(noted.sha256) ? noted.sha256 : undefined;
      } catch {
        return undefined;
      }
    },
    remember(path, sha256) {
      try {
        const { file, state } = place(path);
        writeFileAtomic(file, JSON.stringify({ path, state, sha256 }));
      } catch {
        // A cache that cannot be written is no reason to stop.
      }
    },
    async of(path) {
      const noted = known.get(path);
      if (noted) return noted;
      const before = place(path);
      const sha256 = await sha256Of(path, before.size);
      if (place(path).state === before.state) known.remember(path, sha256);
      return sha256;
    },
  };
  return known;
}

import { createHash } from "node:crypto";

const longestName = 120;

/** A job's id as one plain name of a file or key. What had to be changed gets a piece of its hash, so that two ids never share one. */
export function safeName(id: string): string {
  const plain = id
    .replace(/[^A-Za-z0-9._-]/g, "_")
    .replace(/^[.-]+/, "_")
    .slice(0, longestName);
  return plain === id && plain !== "" ? plain : `${plain || "job"}-${createHash("sha256").update(id).digest("hex").slice(0, 10)}`;
}

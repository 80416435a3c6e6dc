import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type Identity, resolveUser } from "../supervise/user.ts";
import { critical, type Finding, ok, warning } from "./check.ts";
import { nearestExisting, writeTest } from "./checks/disk.ts";
import type { TemplateEngine } from "./template-engine.ts";

interface FolderUse {
  readonly isWritten: boolean;
  /** Who will write there; left out: whoever runs this. */
  readonly user: string | undefined;
}

/** Whether the engine can keep downloads there. Without any to come it need not even exist. */
export async function folderFinding({ name, modelsDir }: TemplateEngine, { isWritten, user }: FolderUse): Promise<Finding> {
  const existing = await nearestExisting(join(modelsDir, ".fettle"));
  const isThere = existing.startsWith(modelsDir);
  if (!isWritten) return ok(isThere ? `${modelsDir}; nothing is written to it` : `${modelsDir} is not there, and nothing has to be downloaded`);
  const reason = await reasonAgainst(existing, user);
  const whose = user ?? process.getuid?.() ?? 0;
  if (reason !== undefined)
    return critical(
      `${existing}: ${reason}, so nothing can be downloaded`,
      `mkdir -p ${modelsDir} && chown -R ${whose} ${modelsDir}, or set engines.${name}.modelsDir`,
    );
  if (isThere) return ok(modelsDir);
  return warning(
    `${modelsDir} does not exist; it will be made in ${existing} for the downloads`,
    `Mount the volume of models, or mkdir -p ${modelsDir}, or set engines.${name}.modelsDir.`,
  );
}

async function reasonAgainst(dir: string, user: string | undefined): Promise<string | undefined> {
  const who = user === undefined ? undefined : resolveUser(user);
  if (typeof who === "string") return who;
  return who === undefined || who.uid === process.getuid?.() ? await writeTest(dir) : await rightsAgainst(dir, who);
}

/** By owner and rights: nobody can try as somebody else. */
async function rightsAgainst(dir: string, { uid, gid, name }: Identity): Promise<string | undefined> {
  if (uid === 0) return undefined;
  const found = await stat(dir);
  if (!found.isDirectory()) return "it is no folder";
  const needed = found.uid === uid ? 0o300 : found.gid === gid ? 0o030 : 0o003;
  return (found.mode & needed) === needed ? undefined : `the engine's user ${name ?? uid} may not write to it`;
}

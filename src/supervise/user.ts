import { readFileSync } from "node:fs";

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly name?: string;
  readonly home?: string;
}

/** `name`, `uid`, `uid:gid` or `name:group` → ids, by /etc/passwd and /etc/group; a text is the reason why not. */
export function resolveUser(user: string, { passwd = "/etc/passwd", group = "/etc/group" }: { passwd?: string; group?: string } = {}): Identity | string {
  const [who = "", whichGroup] = user.split(":");
  const row = rows(passwd).find(([name, , uid]) => name === who || uid === who);
  if (!row && !/^\d+$/.test(who)) return `there is no user ${who}`;
  const uid = Number(row?.[2] ?? who);
  const groupRow = whichGroup === undefined ? undefined : rows(group).find(([name, , gid]) => name === whichGroup || gid === whichGroup);
  if (whichGroup !== undefined && !groupRow && !/^\d+$/.test(whichGroup)) return `there is no group ${whichGroup}`;
  const gid = whichGroup === undefined ? Number(row?.[3] ?? uid) : Number(groupRow?.[2] ?? whichGroup);
  return { uid, gid, ...(row?.[0] !== undefined && { name: row[0] }), ...(row?.[5] !== undefined && { home: row[5] }) };
}

function rows(file: string): string[][] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.split(":"));
  } catch {
    return [];
  }
}

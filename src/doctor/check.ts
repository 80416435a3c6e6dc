// doctor/ owns the question "what is wrong with this machine, and what is the fix": checks by subject in one ordered
// table (checks/index.ts), run at once, reported in the table's order. Takes: the machine as it is and the effective
// configuration. Gives: findings. It reads; only the write test writes, and removes what it wrote. No network beyond loopback.
// Must not know the command line. A new check is a `Check` in the file of its subject and a row in checks/index.ts.
import type { Patient } from "./patient.ts";

export const subjects = [
  "config",
  "gpu",
  "python",
  "engine",
  "templates",
  "handler",
  "memory",
  "disk",
  "limits",
  "process",
  "ports",
  "secrets",
  "instance",
  "fitness",
] as const;
export type Subject = (typeof subjects)[number];

/** Facts beside a message, for `--json`; secrets in them are masked like everywhere. */
export type Facts = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

interface Common {
  /** One line. For what is not ok: what was found and what it means. */
  readonly message: string;
  readonly facts?: Facts;
  /** Tells apart the findings of one check about several things: a port, an engine. */
  readonly item?: string;
}

export type Finding =
  | (Common & { readonly state: "ok" })
  | (Common & { readonly state: "warning" | "critical"; readonly fix: string; /** Default: only what is critical blocks. */ readonly blocks?: boolean })
  /** Nothing was learnt, and why; never to be taken for ok. */
  | (Common & { readonly state: "not-checked" });

export interface Check {
  /** `subject.what`, unique. */
  readonly id: string;
  readonly subject: Subject;
  readonly title: string;
  /** Checks whose trouble makes this one pointless: it is then skipped, so that only the first cause is reported. */
  readonly needs?: readonly string[];
  /** One finding, or one for each thing it looked at. May throw: that becomes "not checked", with the reason. */
  check(patient: Patient, options: { readonly signal: AbortSignal }): Promise<Finding | readonly Finding[]>;
}

export const ok = (message: string, facts?: Facts): Finding => ({ state: "ok", message, ...(facts && { facts }) });
export const warning = (message: string, fix: string, facts?: Facts): Finding => ({ state: "warning", message, fix, ...(facts && { facts }) });
export const critical = (message: string, fix: string, facts?: Facts): Finding => ({ state: "critical", message, fix, ...(facts && { facts }) });
export const notChecked = (message: string, facts?: Facts): Finding => ({ state: "not-checked", message, ...(facts && { facts }) });

/** A warning that still makes what needs this check pointless. */
export const blocking = (message: string, fix: string): Finding => ({ state: "warning", message, fix, blocks: true });

/** The same finding, about one of several things. */
export const about = (item: string, finding: Finding): Finding => ({ ...finding, item });

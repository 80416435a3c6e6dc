import { isAbsolute, join } from "node:path";
import type { Environment } from "./substitute.ts";
import type { MapTree, ScalarTree, Source } from "./tree.ts";

export interface Folders {
  readonly stateDir: string;
  readonly logDir: string;
  readonly runtimeDir: string;
}

/**
 * Where fettle keeps things when nobody says: root uses the system's folders, anyone else the XDG base directories
 * (a relative XDG value is ignored, as that specification asks).
 */
export function defaultFolders(env: Environment, uid: number): Folders {
  if (uid === 0) return { stateDir: "/var/lib/fettle", logDir: "/var/log/fettle", runtimeDir: "/run/fettle" };
  const absolute = (value: string | undefined) => (value && isAbsolute(value) ? value : undefined);
  const home = absolute(env["HOME"]);
  const temporary = `/tmp/fettle-${uid}`;
  const stateHome = absolute(env["XDG_STATE_HOME"]) ?? (home && join(home, ".local/state"));
  const runtimeHome = absolute(env["XDG_RUNTIME_DIR"]);
  const stateDir = stateHome ? join(stateHome, "fettle") : join(temporary, "state");
  return { stateDir, logDir: join(stateDir, "log"), runtimeDir: runtimeHome ? join(runtimeHome, "fettle") : temporary };
}

/** The layer below all others: the few defaults that depend on the user; the rest stands in the schema. */
export function defaultsTree(env: Environment, uid: number): MapTree {
  const source: Source = { layer: "defaults", name: "default", file: "defaults", text: "", located: false };
  const place = { source, start: 0, end: 0 };
  const leaf = (value: string): ScalarTree => ({ kind: "scalar", value, raw: value, place });
  return { kind: "map", place, entries: new Map(Object.entries(defaultFolders(env, uid)).map(([key, value]) => [key, { key: place, value: leaf(value) }])) };
}

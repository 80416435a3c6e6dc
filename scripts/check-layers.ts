// The import direction of ARCHITECTURE.md, checked: each folder of src/ may import only what stands to its left.
// A folder without a row is an error, so a new one begins with the question where it belongs.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const base = ["errors", "events", "log", "util"];
const facts = [...base, "config", "machine"];
const planned = [...facts, "plan"];
const working = [...planned, "probes", "supervise", "control", "engines", "jobs", "results"];

/** folder → the folders it may import; its own is always allowed, and so are the files that lie in src/ itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  util: ["errors"],
  events: ["util"],
  log: ["errors", "util"],
  config: base,
  machine: [...base, "config"],
  plan: facts,
  control: planned,
  probes: planned,
  supervise: [...planned, "probes", "control"],
  engines: planned,
  jobs: [...planned, "engines", "control"],
  results: [...planned, "engines", "jobs"],
  // Neighbours on the right: they use everything above, never one another.
  // It looks for what the others would find.
  doctor: [...working, "models", "merge", "templates"],
  fleet: working,
  generate: working,
  install: working,
  // A recipe's inputs are fetched first.
  merge: [...working, "models"],
  models: working,
  phases: working,
  server: working,
  templates: [...working, "merge", "models"],
  web: working,
  worker: [...working, "server", "fleet", "models"],
};

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const src = join(root, "src");
const importing = /(?:^|\n)\s*(?:import|export)\s[^;]*?\bfrom\s*"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|(?:^|\n)\s*import\s+"([^"]+)"/g;

const problems = readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .flatMap((file) => problemsOf(join(src, file)));
for (const problem of problems) console.error(problem);
if (problems.length > 0) {
  console.error(`✖ ${problems.length} import${problems.length > 1 ? "s" : ""} against the direction; the table is in scripts/check-layers.ts.`);
  process.exitCode = 1;
}

function problemsOf(path: string): string[] {
  const text = readFileSync(path, "utf8");
  const folder = folderOf(path);
  if (folder !== undefined && !Object.hasOwn(mayImport, folder)) return [`${relative(root, path)}: src/${folder}/ has no row in scripts/check-layers.ts`];
  return [...text.matchAll(importing)].flatMap((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? "";
    if (!specifier.startsWith(".")) return [];
    const line = text.slice(0, match.index + match[0].length).split("\n").length;
    const why = forbidden(path, folder, resolve(dirname(path), specifier));
    return why === undefined ? [] : [`${relative(root, path)}:${line}: ${why}`];
  });
}

function forbidden(from: string, folder: string | undefined, target: string): string | undefined {
  const place = relative(root, target);
  if (!place.startsWith("src/"))
    return from === join(src, "main.ts") || place === "package.json" ? undefined : `only main.ts may leave src/, this imports ${place}`;
  const other = folderOf(target);
  if (folder === undefined || other === undefined || other === folder) return undefined;
  return mayImport[folder]?.includes(other) ? undefined : `${folder}/ must not import ${other}/`;
}

/** The first folder under src/; undefined for a file that lies in src/ itself (main.ts, version.ts). */
function folderOf(path: string): string | undefined {
  const parts = relative(src, path).split("/");
  return parts.length > 1 ? parts[0] : undefined;
}

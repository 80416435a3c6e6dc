import { type ProgramResult, runProgram, troubleOf } from "./program.ts";

/** What a Python says of itself. Nothing heavy is imported: `import torch` alone takes seconds. */
export interface PythonFacts {
  readonly executable: string;
  /** Such as `[3, 11, 2]`. */
  readonly version: readonly number[];
  readonly prefix: string;
  readonly isVenv: boolean;
  /** Debian's own Python refuses pip outside a venv. */
  readonly isExternallyManaged: boolean;
  readonly machine: string;
  /** Distribution name (lower case, dashes) → version. */
  readonly packages: Readonly<Record<string, string>>;
  /** The torch version that the installed xformers was built for. */
  readonly xformersWants: string | null;
  /** torch/version.py's `cuda`: null for a build without CUDA; absent without torch. */
  readonly torchCuda?: string | null;
}

export type PythonAnswer =
  | { readonly type: "known"; readonly facts: PythonFacts }
  | { readonly type: "missing"; readonly reason: string }
  | { readonly type: "unknown"; readonly reason: string };

const script = String.raw`
import importlib.metadata as metadata, importlib.util as util, json, os, platform, re, sys, sysconfig
packages, wants = {}, None
for one in metadata.distributions():
    name = one.metadata["Name"] if one.metadata else None
    if not name:
        continue
    name = re.sub(r"[-_.]+", "-", name).lower()
    # The first on the path is the one that is imported.
    packages.setdefault(name, one.version)
    if name == "xformers":
        for line in one.requires or []:
            found = re.match(r"torch\s*\(?==\s*([0-9.]+)", line)
            if found:
                wants = found.group(1)
venv = sys.prefix != sys.base_prefix
answer = {"executable": sys.executable, "version": list(sys.version_info[:3]), "prefix": sys.prefix,
          "isVenv": venv,
          "isExternallyManaged": not venv and os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")),
          "machine": platform.machine(), "packages": packages, "xformersWants": wants}
spec = util.find_spec("torch")
if spec and spec.origin:
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "version.py"), encoding="utf-8") as file:
            found = re.search(r"^cuda(?:\s*:[^=]*)?\s*=\s*(None|['\"]([^'\"]*)['\"])", file.read(), re.M)
        if found:
            answer["torchCuda"] = found.group(2)
    except OSError:
        pass
print("\n" + json.dumps(answer))
`;

/** Asks a Python, a name on the PATH or a path, what it is and what is installed in it. */
export async function inspectPython(
  python: string,
  { env, signal }: { env: Readonly<Record<string, string | undefined>>; signal: AbortSignal },
): Promise<PythonAnswer> {
  const result = await runProgram([python, "-c", script], { env: { ...env, PYTHONDONTWRITEBYTECODE: "1" }, signal });
  if (result.type === "missing") return { type: "missing", reason: `there is no program ${python}` };
  const trouble = troubleOf(python, result);
  if (trouble !== undefined) return { type: "unknown", reason: trouble };
  return parse(python, result);
}

function parse(python: string, result: ProgramResult): PythonAnswer {
  try {
    // A start-up file of the user's may print before; ours is the last line.
    const line = result.type === "ended" ? result.stdout.trim().split("\n").at(-1) : "";
    return { type: "known", facts: JSON.parse(line ?? "") as PythonFacts };
  } catch {
    return { type: "unknown", reason: `${python} does not answer as Python 3.8 or later does` };
  }
}

import { resolve } from "node:path";
import type { PythonEngineConfig } from "../../config/schema/index.ts";
import { about, type Check, critical, type Finding, notChecked, ok } from "../check.ts";
import type { Patient } from "../patient.ts";
import { troubleOf } from "../program.ts";

export const handlerChecks: readonly Check[] = [
  { id: "handler.file", subject: "handler", title: "handler file", needs: ["config.valid"], check: (patient) => each(patient, fileOf) },
  {
    id: "handler.imports",
    subject: "handler",
    title: "handler's imports",
    needs: ["python.found", "handler.file"],
    check: (patient, options) => each(patient, (one, engine, name) => importsOf(one, engine, name, options)),
  },
];

type Look = (patient: Patient, engine: PythonEngineConfig, name: string) => Promise<Finding>;

async function each(patient: Patient, look: Look): Promise<Finding | Finding[]> {
  const engines = patient.engines.flatMap(([name, engine]) => (engine.kind === "python" ? [{ name, engine }] : []));
  if (engines.length === 0) return notChecked("no engine of this configuration runs a handler");
  return await Promise.all(engines.map(async ({ name, engine }) => about(name, await look(patient, engine, name))));
}

interface Found {
  readonly path: string;
  readonly text: string;
}

/** Relative to where the engine will run. */
async function find({ read, at, cwd }: Patient, engine: PythonEngineConfig): Promise<Found | undefined> {
  for (const one of [engine.handler].flat()) {
    const path = resolve(cwd, engine.cwd ?? ".", one);
    const text = await read(path);
    if (text !== undefined) return { path: at(path), text };
  }
  return undefined;
}

async function fileOf(patient: Patient, engine: PythonEngineConfig, name: string): Promise<Finding> {
  const found = await find(patient, engine);
  if (!found) {
    const places = [engine.handler].flat().join(", ");
    return critical(`there is no ${places}, or it cannot be read`, `Put your handler there, or set engines.${name}.handler.`);
  }
  return ok(found.path, { path: found.path });
}

/** Parses only: loading the file could take minutes and all of the GPU's memory. */
const script = String.raw`
import ast, importlib.util, json, os, sys
path = sys.argv[1]
sys.path.insert(0, os.path.dirname(path))
answer = {"missing": [], "hasStart": False, "hasHandler": False}
try:
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
except SyntaxError as error:
    print("\n" + json.dumps({**answer, "fault": error.msg, "line": error.lineno or 0}))
    sys.exit()
def look(body):
    for node in body:
        if isinstance(node, ast.If):
            look(node.body)
            look(node.orelse)
        elif isinstance(node, ast.Import):
            need([one.name for one in node.names], node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            need([node.module or ""], node.lineno)
def need(names, line):
    for name in names:
        top = name.split(".")[0]
        try:
            known = top in sys.modules or importlib.util.find_spec(top) is not None
        except (ImportError, ValueError):
            known = False
        # Where the SDK is not installed fettle stands in for it.
        if not known and top != "runpod":
            answer["missing"].append([top, line])
look(tree.body)
for node in ast.walk(tree):
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
        answer["hasStart"] |= (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id) == "start"
for node in tree.body:
    names = [node.name] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else []
    names += [one.id for target in getattr(node, "targets", []) for one in ast.walk(target) if isinstance(one, ast.Name)]
    names += [one.asname or one.name for one in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
    answer["hasHandler"] |= "handler" in names or "*" in names
print("\n" + json.dumps(answer))
`;

interface Answer {
  readonly missing: readonly (readonly [string, number])[];
  readonly hasStart: boolean;
  readonly hasHandler: boolean;
  readonly fault?: string;
  readonly line?: number;
}

async function importsOf(patient: Patient, engine: PythonEngineConfig, name: string, { signal }: { signal: AbortSignal }): Promise<Finding> {
  const found = await find(patient, engine);
  if (!found) return notChecked("there is no handler file");
  const env = { ...patient.engineEnv(engine), PYTHONDONTWRITEBYTECODE: "1" };
  const result = await patient.run([engine.python, "-c", script, found.path], { signal, env });
  const trouble = troubleOf(engine.python, result);
  if (trouble !== undefined || result.type !== "ended") return notChecked(trouble ?? "no answer");
  const answer = JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "") as Answer;
  if (answer.fault !== undefined) return critical(`${found.path}:${answer.line ?? 0}: ${answer.fault}`, "Correct the line; this Python cannot read the file.");
  if (answer.missing.length > 0) {
    const names = answer.missing.map(([module]) => module);
    const list = answer.missing.map(([module, line]) => `${module} (line ${line})`).join(", ");
    return critical(`${found.path} imports what is not there: ${list}`, `${engine.python} -m pip install ${names.join(" ")}, or set engines.${name}.python`, {
      missing: names,
    });
  }
  if (!answer.hasStart && !answer.hasHandler)
    return critical(
      `${found.path} calls no runpod.serverless.start and has no function named handler`,
      "Write one of the two; docs/python-handler.md shows both.",
    );
  return ok(answer.hasStart ? "installed; it calls runpod.serverless.start" : "installed; it has a function named handler");
}

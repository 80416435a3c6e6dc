import requirementsText from "../../engines/diffusers/helper/requirements.txt" with { type: "text" };
import { resolve } from "node:path";
import type { EngineConfig } from "../../config/schema/index.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { PythonFacts } from "../inspect-python.ts";
import type { Patient } from "../patient.ts";
import { olderMajor, parseRequirements, type Requirement } from "../requirements.ts";

/** What loads a handler runs on any Python that is still in use. */
const leastMinor = (engine: EngineConfig): number => (engine.kind === "python" ? 8 : 10);

export const pythonChecks: readonly Check[] = [
  { id: "python.found", subject: "python", title: "Python", needs: ["config.valid"], check: (patient) => perEngine(patient, found) },
  { id: "python.packages", subject: "python", title: "packages", needs: ["python.found"], check: (patient) => perEngine(patient, packages) },
  { id: "python.xformers", subject: "python", title: "xformers", needs: ["python.found"], check: (patient) => perEngine(patient, xformers) },
];

async function perEngine(patient: Patient, one: (patient: Patient, engine: EngineConfig, name: string) => Promise<Finding>): Promise<Finding | Finding[]> {
  if (patient.engines.length === 0) return notChecked("this configuration launches no engine");
  return await Promise.all(patient.engines.map(async ([name, engine]) => about(name, await one(patient, engine, name))));
}

async function found(patient: Patient, engine: EngineConfig, name: string): Promise<Finding> {
  const answer = await patient.python(engine);
  if (answer.type === "missing") return await missing(patient, engine, name);
  if (answer.type === "unknown") return notChecked(answer.reason);
  const { version, executable } = answer.facts;
  const text = version.join(".");
  const facts = { executable, version: text, venv: answer.facts.isVenv };
  const [major = 0, minor = 0] = version;
  if (major < 3 || (major === 3 && minor < leastMinor(engine)))
    return critical(`${executable} is Python ${text}; the engine needs 3.${leastMinor(engine)} or later`, `Set engines.${name}.python to a newer one.`, facts);
  return ok(`${executable}, ${text}`, facts);
}

/** Debian has python3 but no `python`. */
async function missing(patient: Patient, engine: EngineConfig, name: string): Promise<Finding> {
  const other = engine.python === "python" && (await patient.python({ ...engine, python: "python3" })).type === "known";
  return critical(
    `there is no program ${engine.python}${other ? ", only python3" : ""}`,
    other ? "apt-get install -y python-is-python3" : `apt-get install -y python3 python3-venv, or set engines.${name}.python`,
  );
}

async function packages(patient: Patient, engine: EngineConfig): Promise<Finding> {
  const answer = await patient.python(engine);
  if (answer.type !== "known") return notChecked(answer.reason);
  const wanted = await requirementsOf(patient, engine);
  if (wanted === undefined) return notChecked("there is no list of requirements in the engine's folder");
  const { packages: installed, executable } = answer.facts;
  const absent = wanted.filter(({ name, optional }) => !optional && installed[name] === undefined);
  const names = ["torch", "diffusers", "transformers", "gradio", "fastapi"].filter((name) => installed[name] !== undefined);
  const facts = Object.fromEntries(names.map((name) => [name, installed[name] ?? ""]));
  if (absent.length > 0) {
    const lacking = absent.map(({ name }) => name);
    // Without the others ComfyUI starts all the same, and lacks the nodes that need them.
    const state = engine.kind === "comfyui" && !lacking.includes("torch") && !lacking.includes("aiohttp") ? warning : critical;
    return state(`${executable} lacks ${lacking.join(", ")}`, installCommand(answer.facts, absent), { ...facts, missing: lacking });
  }
  const old = wanted.filter(({ name, version }) => olderMajor(installed[name], version));
  if (old.length > 0) {
    const list = old.map(({ name, version }) => `${name} ${installed[name]} (made for ${version})`).join(", ");
    return warning(`older than the engine was made for: ${list}`, installCommand(answer.facts, old), facts);
  }
  return ok(names.map((name) => `${name} ${installed[name]}`).join(", ") || "none of its own", facts);
}

/** Undefined when the webui's own list cannot be read. */
async function requirementsOf({ read, cwd }: Patient, engine: EngineConfig): Promise<readonly Requirement[] | undefined> {
  if (engine.kind === "python") return [];
  if (engine.kind === "diffusers") return parseRequirements(requirementsText);
  if (engine.kind === "comfyui") {
    const list = await read(resolve(cwd, engine.directory, "requirements.txt"));
    return list === undefined ? undefined : parseRequirements(list);
  }
  const text = await read(resolve(cwd, engine.directory, "requirements_versions.txt"));
  // Its launcher installs torch by itself, so that file does not name it.
  return text === undefined ? undefined : [{ name: "torch", optional: false }, ...parseRequirements(text).filter(({ name }) => name !== "torch")];
}

export function installCommand({ executable, isExternallyManaged }: PythonFacts, wanted: readonly Requirement[]): string {
  const list = wanted.map(({ name, version }) => (version === undefined ? name : `${name}==${version}`)).join(" ");
  if (!isExternallyManaged) return `${executable} -m pip install ${list}`;
  return `${executable} -m venv /opt/venv && /opt/venv/bin/pip install ${list}, then use /opt/venv/bin/python`;
}

async function xformers(patient: Patient, engine: EngineConfig): Promise<Finding> {
  if (engine.kind !== "a1111" || ![...engine.args, ...engine.extraArgs].includes("--xformers")) return notChecked("the engine is not started with --xformers");
  const answer = await patient.python(engine);
  if (answer.type !== "known") return notChecked(answer.reason);
  const { packages: installed, xformersWants, executable } = answer.facts;
  const version = installed["xformers"];
  if (version === undefined)
    return warning("--xformers is given, but xformers is not installed; the webui goes on without it", `${executable} -m pip install xformers --no-deps`);
  const torch = installed["torch"]?.replace(/\+.*$/, "");
  if (xformersWants !== null && torch !== undefined && xformersWants !== torch)
    return warning(
      `xformers ${version} was built for torch ${xformersWants}, installed is ${torch}; it will not load`,
      `${executable} -m pip uninstall -y xformers`,
      { version, torch },
    );
  return ok(version, { version });
}

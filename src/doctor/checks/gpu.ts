import { readdirSync } from "node:fs";
import type { ComfyuiEngineConfig, EngineConfig } from "../../config/schema/index.ts";
import { about, blocking, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";
import type { Patient } from "../patient.ts";
import { troubleOf } from "../program.ts";

const hostOnly = "Nothing inside the container can fix this.";

export const gpuChecks: readonly Check[] = [
  { id: "gpu.devices", subject: "gpu", title: "GPU devices", check: async (patient) => devices(patient) },
  { id: "gpu.driver", subject: "gpu", title: "NVIDIA driver", needs: ["gpu.devices"], check: driver },
  { id: "gpu.torch", subject: "gpu", title: "torch and the driver", needs: ["config.valid", "gpu.driver"], check: torch },
];

function devices(patient: Patient): Finding {
  const found = deviceFiles(patient);
  if (found.length === 0) {
    const fix = patient.env["RUNPOD_POD_ID"] ? "Deploy on a machine type with a GPU." : "docker run --gpus all …";
    const wanting = patient.config.type === "loaded" ? patient.engines.filter(([, engine]) => demandsCuda(engine)).map(([name]) => name) : [];
    if (wanting.length > 0) return critical(`no GPU: ${wanting.join(", ")} cannot run without one. ${hostOnly}`, fix);
    return blocking("no GPU: engines run on the CPU", fix);
  }
  if (["", "-1", "none", "void"].includes(patient.env["CUDA_VISIBLE_DEVICES"]?.trim() ?? "0"))
    return warning(`${found.join(", ")}, hidden by CUDA_VISIBLE_DEVICES="${patient.env["CUDA_VISIBLE_DEVICES"]}"`, "unset CUDA_VISIBLE_DEVICES", {
      devices: found,
    });
  return ok(found.join(", "), { devices: found });
}

export function deviceFiles({ at }: Pick<Patient, "at">): string[] {
  try {
    // dxg is WSL's; kfd is AMD's.
    return readdirSync(at("/dev"))
      .filter((name) => /^(nvidia\d+|dxg|kfd)$/.test(name))
      .map((name) => `/dev/${name}`)
      .sort();
  } catch {
    return [];
  }
}

/** ComfyUI ends at once without a GPU, unless it is told so. */
const usesCpu = ({ args, extraArgs }: ComfyuiEngineConfig): boolean => [...args, ...extraArgs].some((word) => word === "--cpu" || word === "--directml");

/** An engine that fails on a CPU, as opposed to one that is only slow there. */
function demandsCuda(engine: EngineConfig): boolean {
  if (engine.kind === "diffusers") return engine.device.startsWith("cuda");
  // What a handler needs is its own matter.
  if (engine.kind === "python") return false;
  if (engine.kind === "comfyui") return !usesCpu(engine);
  // A1111 computes in half precision unless told otherwise, which a CPU cannot; --skip-torch-cuda-test only hides it.
  const args = [...engine.args, ...engine.extraArgs];
  return !args.some((word) => ["--use-cpu", "--no-half"].includes(word)) && !(args.includes("--precision") && args.includes("full"));
}

/** Asks the driver for its GPUs; one that does not answer, or knows none, is critical. `timeoutMs`: default 4 s. */
export async function driver(patient: Pick<Patient, "at" | "run">, { signal, timeoutMs }: { signal: AbortSignal; timeoutMs?: number }): Promise<Finding> {
  const result = await patient.run(["nvidia-smi", "-L"], { signal, ...(timeoutMs !== undefined && { timeoutMs }) });
  if (result.type === "missing") {
    if (deviceFiles(patient).every((file) => file === "/dev/kfd")) return notChecked("an AMD GPU; only NVIDIA's driver is looked at");
    return blocking("there is no nvidia-smi, so the driver cannot be asked", "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …");
  }
  if (result.type === "timed-out") return notChecked("nvidia-smi -L did not answer in time; the driver may hang, and only a restart of the host helps");
  const trouble = troubleOf("nvidia-smi -L", result);
  if (trouble !== undefined) {
    const unknown = /Unknown Error/i.test(trouble);
    return critical(
      `${trouble}. ${hostOnly}`,
      unknown ? "Create the container anew: it has lost its rights to the device." : "Restart the container on another host; its driver does not answer.",
    );
  }
  const gpus = (result.type === "ended" ? result.stdout : "").split("\n").flatMap((line) => /^GPU \d+: (.*?)(?: \(UUID.*)?$/.exec(line.trim())?.[1] ?? []);
  if (gpus.length === 0) return critical(`nvidia-smi lists no GPU. ${hostOnly}`, "docker run --gpus all …");
  return ok(`${gpus.length} × ${[...new Set(gpus)].join(", ")}`, { gpus });
}

async function torch(patient: Patient, { signal }: { signal: AbortSignal }): Promise<Finding | Finding[]> {
  const engines = patient.engines.filter(
    ([, engine]) => !(engine.kind === "diffusers" && engine.device === "cpu") && !(engine.kind === "comfyui" && usesCpu(engine)),
  );
  if (engines.length === 0) return notChecked("no engine of this configuration uses the GPU");
  const result = await patient.run(["nvidia-smi"], { signal });
  const trouble = troubleOf("nvidia-smi", result);
  if (trouble !== undefined) return notChecked(trouble);
  const text = result.type === "ended" ? result.stdout : "";
  const version = /Driver Version:\s*([\d.]+)/.exec(text)?.[1] ?? "unknown";
  const cuda = allowedCuda(text);
  if (!cuda) return notChecked("nvidia-smi does not say which CUDA version its driver allows");
  const most = { ...cuda, driver: version };
  return await Promise.all(engines.map(async ([name, engine]) => about(name, await torchOf(patient, engine, most))));
}

/** The newest CUDA that a driver allows, as `nvidia-smi` prints it. */
export function allowedCuda(text: string): { readonly major: number; readonly minor: number } | undefined {
  const found = /CUDA(?: UMD)? Version:\s*(\d+)\.(\d+)/.exec(text);
  return found ? { major: Number(found[1]), minor: Number(found[2]) } : undefined;
}

async function torchOf(patient: Patient, engine: EngineConfig, most: { major: number; minor: number; driver: string }): Promise<Finding> {
  const python = await patient.python(engine);
  if (python.type !== "known") return notChecked(python.reason);
  const { torchCuda, executable, packages } = python.facts;
  const build = `torch ${packages["torch"] ?? "of an unknown version"}`;
  const allowed = `driver ${most.driver}, CUDA ≤ ${most.major}.${most.minor}`;
  const facts = { torch: packages["torch"] ?? null, torchCuda: torchCuda ?? null, driver: most.driver, driverCuda: `${most.major}.${most.minor}` };
  const reinstall = `uv pip install --python ${executable} --reinstall torch torchvision --torch-backend ${wheelFor(most)}`;
  if (torchCuda === undefined) return notChecked(`no torch in ${executable}`);
  if (torchCuda === null) {
    const state = demandsCuda(engine) ? critical : warning;
    return state(`${build} is a build without CUDA, so the GPU stays idle`, reinstall, facts);
  }
  const [major = 0, minor = 0] = torchCuda.split(".").map(Number);
  if (major > most.major) return critical(`${build} wants CUDA ${torchCuda}; this machine has ${allowed}`, reinstall, facts);
  // Within one major version NVIDIA promises that a newer runtime works on an older driver, except for compiled PTX.
  if (major === most.major && minor > most.minor) return warning(`${build} was built for CUDA ${torchCuda}, newer than ${allowed}`, reinstall, facts);
  return ok(`${build} for CUDA ${torchCuda}; ${allowed}`, facts);
}

/** The newest of PyTorch's usual wheel tags that a driver allows. */
function wheelFor({ major, minor }: { major: number; minor: number }): string {
  const tags = [130, 128, 126, 124, 121, 118];
  return `cu${tags.find((tag) => tag <= major * 10 + minor) ?? 118}`;
}

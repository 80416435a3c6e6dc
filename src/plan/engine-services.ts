import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { EngineConfig } from "../config/schema/index.ts";
import type { Draft } from "./draft.ts";
import { type EngineTask, type Launchers, launcherOf } from "./launch.ts";
import { modelsDirOf } from "./needs.ts";
import type { PlannedEngine, Service } from "./plan.ts";
import { engineProbe, livenessOfEngine, httpUrl } from "./probe.ts";
import { isOptional } from "./phases.ts";
import { processEnv } from "./process-env.ts";
import { commonRules, taskRestart } from "./service-rules.ts";
import { programOfSteps } from "./step.ts";
import type { WorkerOptions } from "./worker-service.ts";

export interface EngineServices {
  readonly services: readonly Service[];
  readonly engines: readonly PlannedEngine[];
}

export interface EngineOptions extends Pick<WorkerOptions, "selfArgv" | "socketName"> {
  readonly launchers: Launchers;
  /** Folder with the bundled Python files. */
  readonly assetDir: string;
}

/** Every enabled engine: a service with its tasks when it is launched here, only an address when it has a `url`. */
export function planEngines(draft: Draft, options: EngineOptions): EngineServices {
  const { launchers, assetDir } = options;
  const services: Service[] = [];
  const engines: PlannedEngine[] = [];
  for (const [name, engine] of Object.entries(draft.config.engines)) {
    if (!engine.enabled) continue;
    const launcher = launcherOf(launchers, engine);
    const port = engine.url === undefined ? draft.port(engine.port) : engine.port;
    const url = engine.url?.replace(/\/+$/, "") ?? httpUrl(engine.host, port);
    const settings = launcher.settings?.(engine);
    const readiness = engineProbe(engine, url + launcher.readinessPath);
    const planned = { name, kind: engine.kind, url, slots: engine.slots, readiness, ...(settings && { settings }) };
    if (engine.url !== undefined) {
      engines.push(planned);
      continue;
    }
    const { facts, config } = draft;
    const launched = launcher.launch(name, engine, {
      port,
      assetDir,
      selfArgv: options.selfArgv,
      modelsDir: modelsDirOf(config),
      ownDir: join(config.stateDir, "engines", name),
      exists: (path) => facts.existing.has(path),
      ...(facts.cpuLimit !== undefined && { cpuLimit: facts.cpuLimit }),
    });
    const tasks = (launched.tasks ?? []).map((task) => addTask(draft, services, engine, task, options));
    services.push({
      name,
      role: "engine",
      argv: launched.argv,
      ...(launched.cwd !== undefined && { cwd: launched.cwd }),
      env: { ...launched.env, ...processEnv(draft, name, engine), ...engine.env },
      dependsOn: tasks.map((service) => ({ service, condition: "completed" })),
      readiness: launched.readiness,
      ...(launched.complaints && { complaints: launched.complaints }),
      ...livenessOfEngine(launched.readiness, engine),
      essential: engine.essential,
      ...commonRules(engine),
      ...(isOptional(engine.onFailure, engine.phase, draft.phases) && { optional: true }),
      ...draft.files(name, engine),
    });
    const gpu = draft.gpuOf(name);
    engines.push({ ...planned, service: name, ...(gpu !== undefined && { gpu }) });
    warnAboutDevice(draft, name, engine);
  }
  return { services, engines };
}

/** Two engines that want the same thing made share one task. */
function addTask(draft: Draft, services: Service[], engine: EngineConfig, task: EngineTask, options: EngineOptions): string {
  const program =
    "argv" in task ? { argv: task.argv, env: task.env } : programOfSteps(task.steps, { ...options, env: task.env, runtimeDir: draft.config.runtimeDir });
  const same = services.find(
    (one) => one.role === "task" && isDeepStrictEqual([one.argv, one.steps], [program.argv, "steps" in program ? program.steps : undefined]),
  );
  if (same) return same.name;
  services.push({
    name: task.name,
    role: "task",
    ...program,
    env: { ...program.env, ...engine.env },
    dependsOn: [],
    restart: taskRestart,
    essential: engine.essential,
    stop: { signal: "SIGTERM", graceMs: 2000 },
    console: engine.console,
    ...(engine.phase !== undefined && { phase: engine.phase }),
    ...(isOptional(engine.onFailure, engine.phase, draft.phases) && { optional: true }),
    ...draft.files(task.name),
  });
  return task.name;
}

function warnAboutDevice({ facts, warnings }: Draft, name: string, engine: EngineConfig): void {
  if (engine.kind === "diffusers" && engine.device.startsWith("cuda") && !facts.hasCuda)
    warnings.push(`Engine "${name}" shall use ${engine.device}, but no NVIDIA device is visible here. Start the container with GPUs, or set device: cpu.`);
}

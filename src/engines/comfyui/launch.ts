import { dirname, join } from "node:path";
import type { ComfyuiEngineConfig } from "../../config/schema/index.ts";
import type { EngineTask, LaunchFacts, Launcher } from "../../plan/launch.ts";
import { modelPathSteps } from "../../plan/model-paths.ts";
import { engineProbe, httpUrl } from "../../plan/probe.ts";
import type { Step, StepKind } from "../../plan/step.ts";
import { importFailures } from "./import-failures.ts";

export const comfyuiLauncher: Launcher<ComfyuiEngineConfig> = {
  readinessPath: "/system_stats",
  launch(name, config, facts) {
    const files = filesOf(name, config, facts);
    const folders = [...(files.paths === undefined ? [] : [dirname(files.paths)]), ...(files.own === undefined ? [] : [join(files.own, "user")])];
    const steps: StepKind[] = [
      ...(folders.length === 0 ? [] : [{ type: "directories" as const, paths: folders }]),
      ...(files.paths === undefined ? [] : modelPathSteps({ ...config, write: files.paths, folders: config.modelFolders, make: false })),
    ];
    return {
      argv: [config.python, "main.py", ...argumentsOf(config, facts.port, files)],
      cwd: config.directory,
      env: { PYTHONUNBUFFERED: "true" },
      readiness: engineProbe(config, `${httpUrl(config.host, facts.port)}${comfyuiLauncher.readinessPath}`),
      complaints: importFailures,
      ...(steps.length > 0 && { tasks: [setUp(name, steps)] }),
    };
  },
  settings: ({ workflows, checkpoint, comfyOrgApiKey, warmUp, promptVia }) => ({
    ...(workflows !== undefined && { workflows }),
    ...(checkpoint !== undefined && { checkpoint }),
    ...(comfyOrgApiKey !== "" && { comfyOrgApiKey }),
    ...(warmUp !== undefined && { warmUp }),
    ...(promptVia !== "http" && { promptVia }),
  }),
};

interface Files {
  /** extra_model_paths.yaml */
  readonly paths: string | undefined;
  /** Its user, temp and database files lie here instead of in ComfyUI's folder. */
  readonly own: string | undefined;
}

/** Copies of one ComfyUI must not share its temp folder, which each wipes at its start, nor the lock of its database. */
function filesOf(name: string, { models, customNodes, modelPathsFile, instanceDir, replicas }: ComfyuiEngineConfig, { ownDir }: LaunchFacts): Files {
  const hasPaths = models !== undefined || customNodes !== undefined;
  const ownFolder = replicas === undefined ? undefined : ownDir;
  return {
    paths: hasPaths ? (modelPathsFile ?? join(ownDir, "extra_model_paths.yaml")) : undefined,
    own: instanceDir === undefined ? ownFolder : join(instanceDir, name),
  };
}

/** Of a repeated argument ComfyUI takes the last, so the user's own win. */
function argumentsOf({ host, preview, args, extraArgs }: ComfyuiEngineConfig, port: number, { paths, own }: Files): string[] {
  return [
    "--listen",
    host,
    "--port",
    String(port),
    ...(paths === undefined ? [] : ["--extra-model-paths-config", paths]),
    ...(own === undefined ? [] : ["--user-directory", join(own, "user"), "--temp-directory", own, "--database-url", `sqlite:///${join(own, "comfyui.db")}`]),
    ...(preview === undefined ? [] : ["--preview-method", preview]),
    ...args,
    ...extraArgs,
  ];
}

function setUp(name: string, steps: readonly StepKind[]): EngineTask {
  return { name: `${name}-setup`, env: {}, steps: steps.map((step): Step => ({ ...step, onFailure: "fail" })) };
}

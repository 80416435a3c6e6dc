// engines/python/ owns the kind `python`: the user's own handler file in a child process of ours, one call of its handler per job.
// Takes: the place of the file; then single jobs, untouched. Gives: a service for the plan (launch.ts, pure) and an `Engine`
// (connect.ts). The child is helper/; what goes over the wire is written at the top of helper/fettle_engine/server.py.
// Must not know images, sources, the pool or RunPod's addresses.
import { join } from "node:path";
import type { PythonEngineConfig } from "../../config/schema/index.ts";
import type { LaunchFacts, Launcher } from "../../plan/launch.ts";
import { engineProbe, httpUrl } from "../../plan/probe.ts";

export const pythonLauncher: Launcher<PythonEngineConfig> = {
  // 503 while the file is being loaded.
  readinessPath: "/ready",
  paths: ({ handler }) => (typeof handler === "string" ? [] : handler),
  launch(_name, config, facts) {
    return {
      argv: [
        config.python,
        "-u",
        join(facts.assetDir, "python", "fettle_handler.py"),
        "--host",
        config.host,
        "--port",
        String(facts.port),
        "--slots",
        String(config.slots),
        ...(config.reload ? ["--reload"] : []),
        // The handler sees what follows it as its own arguments.
        handlerOf(config, facts),
        ...config.extraArgs,
      ],
      ...(config.cwd !== undefined && { cwd: config.cwd }),
      env: { PYTHONUNBUFFERED: "true" },
      readiness: engineProbe(config, `${httpUrl(config.host, facts.port)}${pythonLauncher.readinessPath}`),
    };
  },
};

/** Of several places the first where there is a file; the first of all where there is none, so that the error names it. */
function handlerOf({ handler }: PythonEngineConfig, { exists }: Pick<LaunchFacts, "exists">): string {
  return typeof handler === "string" ? handler : (handler.find(exists) ?? handler[0] ?? "handler.py");
}

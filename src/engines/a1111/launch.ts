import { join } from "node:path";
import type { A1111EngineConfig } from "../../config/schema/index.ts";
import type { Launcher } from "../../plan/launch.ts";
import { engineProbe, httpUrl } from "../../plan/probe.ts";

export const a1111Launcher: Launcher<A1111EngineConfig> = {
  // 200 as soon as the API is up, on `--nowebui` too, where /internal/ping is missing.
  readinessPath: "/sdapi/v1/sd-models",
  launch(_name, config, { port }) {
    const args = [...config.args, ...config.extraArgs];
    return {
      argv: [config.python, join(config.directory, "webui.py"), ...(config.port === 0 ? withPort(args, port) : args)],
      cwd: config.directory,
      env: { PYTHONUNBUFFERED: "true" },
      readiness: engineProbe(config, `${httpUrl(config.host, port)}${a1111Launcher.readinessPath}`),
    };
  },
};

/** Arguments are the user's, word for word, except where the user asked for a free port. */
function withPort(args: readonly string[], port: number): string[] {
  const at = args.findIndex((word) => word === "--port" || word.startsWith("--port="));
  if (at === -1) return [...args, "--port", String(port)];
  const isOneWord = args[at] !== "--port";
  return [...args.slice(0, at), "--port", String(port), ...args.slice(at + (isOneWord ? 1 : 2))];
}

import { existsSync } from "node:fs";
import { about, type Check, critical, ok, warning } from "../check.ts";

export const configChecks: readonly Check[] = [
  {
    id: "config.valid",
    subject: "config",
    title: "configuration",
    async check({ config }) {
      if (config.type === "loaded") {
        const { profile, files } = config.loaded;
        return ok(`profile ${profile}${files.length > 0 ? `, ${files.join(", ")}` : ""}`, { profile, files });
      }
      const { error } = config;
      const { file, line, column } = error.where ?? {};
      const place = [file, line, column].filter((part) => part !== undefined).join(":");
      const more = error.others.length > 0 ? ` ${error.others.length} more: \`fettle config check\` lists them.` : "";
      return critical(`${place === "" ? "" : `${place}: `}${error.message}${more}`, error.hint, { code: error.code });
    },
  },
  {
    id: "config.warnings",
    subject: "config",
    title: "configuration's warnings",
    needs: ["config.valid"],
    async check({ config }) {
      const warnings = config.type === "loaded" ? config.loaded.warnings : [];
      if (warnings.length === 0) return ok("none");
      return warnings.map((text, index) => about(String(index + 1), warning(text, "Mend it in the configuration or the environment.")));
    },
  },
  {
    id: "config.engines",
    subject: "config",
    title: "engines",
    needs: ["config.valid"],
    async check({ valid }) {
      const all = Object.entries(valid.engines).filter(([, { enabled }]) => enabled);
      if (all.length === 0)
        return warning("the configuration has no engine, so no job can run", "Write one under `engines:`, or start from `fettle config init`.");
      return ok(all.map(([name, { kind, url }]) => `${name} (${kind}${url === undefined ? "" : ` at ${url}`})`).join(", "));
    },
  },
  {
    id: "config.handler",
    subject: "config",
    title: "who takes the jobs",
    needs: ["config.valid"],
    async check({ valid, at }) {
      for (const [name, { enabled, onlyIfExists, replacesSource }] of Object.entries(valid.services)) {
        if (!enabled || replacesSource === undefined) continue;
        if (onlyIfExists === undefined || existsSync(at(onlyIfExists)))
          return ok(`service ${name}${onlyIfExists === undefined ? "" : ` (${onlyIfExists} exists)`} instead of fettle's own ${replacesSource} source`);
      }
      const { runpod, http, file } = valid.sources;
      const runpodOn = runpod !== undefined && (runpod.enabled === "auto" ? runpod.takeUrl !== "" : runpod.enabled);
      const on = [...(runpodOn ? ["runpod"] : []), ...(http?.enabled ? [`http on port ${http.port}`] : []), ...(file?.enabled ? [`file ${file.path}`] : [])];
      return on.length > 0 ? ok(`fettle's own sources: ${on.join(", ")}`) : warning("no source of jobs is on", "Set sources.http or sources.runpod.");
    },
  },
];

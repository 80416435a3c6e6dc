import type { Config } from "../config/schema/index.ts";
import { FettleError } from "../errors/fettle-error.ts";

/** The config whose first engine, a ComfyUI, finds its named workflows in that folder; any other kind would make some other image. */
export function useWorkflows(config: Config, workflows: string): Config {
  const [name, engine] = Object.entries(config.engines).find(([, { enabled }]) => enabled) ?? [];
  if (name !== undefined && engine?.kind === "comfyui") return { ...config, engines: { ...config.engines, [name]: { ...engine, workflows } } };
  const whose = engine === undefined ? "there is no engine" : `the engine "${name}" is of kind ${engine.kind}, which takes A1111's txt2img fields`;
  throw new FettleError("engine.unsupported", `Cannot use --workflow: ${whose}.`, {
    hint: "Only engines of kind comfyui run workflows; name one with --engine-url, or an instance that has one with --url.",
  });
}

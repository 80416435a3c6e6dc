import a1111Runpod from "./a1111-runpod.yaml" with { type: "text" };
import comfyuiPod from "./comfyui-pod.yaml" with { type: "text" };
import comfyui from "./comfyui.yaml" with { type: "text" };
import diffusersRunpod from "./diffusers-runpod.yaml" with { type: "text" };
import demo from "./demo.yaml" with { type: "text" };
import pythonHandler from "./python-handler.yaml" with { type: "text" };
import type { Source } from "../tree.ts";

/** The built-in profiles by name: YAML files that travel inside the binary. A new profile is a file and a row. */
export const profiles: Readonly<Record<string, string>> = {
  "a1111-runpod": a1111Runpod,
  "comfyui-pod": comfyuiPod,
  comfyui,
  demo,
  "diffusers-runpod": diffusersRunpod,
  "python-handler": pythonHandler,
};

/** What runs when nothing is configured. */
export const defaultProfile = "demo";

export function profileSource(name: string): Source | undefined {
  const text = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  return text === undefined ? undefined : { layer: "profile", name, file: `profile ${name}`, text, located: true };
}

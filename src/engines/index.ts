import type { EngineConfig } from "../config/schema/index.ts";
import { a1111Launcher } from "./a1111/launch.ts";
import { diffusersLauncher } from "./diffusers/launch.ts";
import { connectComfyui } from "./comfyui/connect.ts";
import { comfyuiLauncher } from "./comfyui/launch.ts";
import type { EngineKind } from "./engine.ts";
import { connectPython } from "./python/connect.ts";
import { pythonLauncher } from "./python/launch.ts";
import { connectSdapi } from "./sdapi/connect.ts";

/** Every kind of engine: how it is launched, and how it is spoken to. A new kind is a folder, a row and a schema. */
export const kinds: { readonly [Kind in EngineConfig["kind"]]: EngineKind<Extract<EngineConfig, { kind: Kind }>> } = {
  a1111: { kind: "a1111", ...a1111Launcher, connect: connectSdapi("a1111") },
  diffusers: { kind: "diffusers", ...diffusersLauncher, connect: connectSdapi("diffusers") },
  python: { kind: "python", ...pythonLauncher, connect: connectPython },
  comfyui: { kind: "comfyui", ...comfyuiLauncher, connect: connectComfyui },
};

/** The connecting half by the kind's name, as a plan carries it; undefined for a kind that this version does not know. */
export function connectorOf(kind: string): EngineKind["connect"] | undefined {
  return Object.hasOwn(kinds, kind) ? kinds[kind as EngineConfig["kind"]].connect : undefined;
}

import type { Launchers } from "../plan/launch.ts";
import { a1111Launcher } from "./a1111/launch.ts";
import { diffusersLauncher } from "./diffusers/launch.ts";

/** How each kind of engine is launched. Pure and small: reading a plan loads no client. */
export const launchers: Launchers = { a1111: a1111Launcher, diffusers: diffusersLauncher };

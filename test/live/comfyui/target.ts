// live/comfyui/ owns the suites that run on a real ComfyUI (0.3.x to current): jobs.ts asks it everything a job can be, trouble.ts breaks
// its connections and kills it. Takes: COMFYUI_DIR or COMFYUI_URL. `bun test` leaves them out; scripts/live runs them. Must not bring any
// of ComfyUI's code or models here: they are the user's.
import { join } from "node:path";

/** The real engine: one that runs already, or one that fettle launches itself. */
export type Target =
  | { readonly type: "running"; readonly url: string }
  | {
      readonly type: "launch";
      readonly directory: string;
      readonly python: string;
      readonly args: readonly string[];
      /** A folder of models with the tiny checkpoint in it. */
      readonly models: string;
      /** For everything that it writes. */
      readonly data: string;
    };

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws when neither variable is set: scripts/live skips before it comes to this. */
export function readTarget(env: Environment): Target {
  const directory = env["COMFYUI_DIR"];
  if (directory) {
    const data = env["COMFYUI_DATA"] ?? "";
    const args = (env["COMFYUI_ARGS"] || "--cpu").split(/\s+/).filter((word) => word !== "");
    return { type: "launch", directory, python: env["COMFYUI_PYTHON"] || "python3", args, models: join(data, "models"), data };
  }
  const url = env["COMFYUI_URL"];
  if (url) return { type: "running", url: url.replace(/\/+$/, "") };
  throw new Error("Set COMFYUI_DIR or COMFYUI_URL, and run scripts/live.");
}

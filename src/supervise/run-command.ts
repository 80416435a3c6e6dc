import type { RunCommand } from "../probes/exec.ts";
import { type ChildOptions, spawnChild } from "./child.ts";
import { tell } from "./end-family.ts";

/** Runs short commands (exec probes) as a service would run; output is dropped, the whole group ends with the signal. */
export function commandRunner(options: () => Omit<ChildOptions, "argv" | "onOutput">): RunCommand {
  return async (argv, { signal }) => {
    const spawned = await spawnChild({ ...options(), argv, onOutput: () => undefined });
    if (spawned.type === "spawn-failed") return spawned.reason;
    const { child } = spawned;
    const cut = () => tell(-child.pid, "SIGKILL");
    signal.addEventListener("abort", cut, { once: true });
    if (signal.aborted) cut();
    const ending = await child.exited;
    signal.removeEventListener("abort", cut);
    child.closeOutput();
    return ending;
  };
}

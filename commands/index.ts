import type { Command } from "./command.ts";

interface Row {
  readonly summary: string;
  /** Left out of --help: called by fettle itself. */
  readonly internal?: true;
  load(): Promise<{ readonly command: Command }>;
}

/** The lazy table: only the command that runs is loaded, so `--version` starts as fast as the runtime. */
export const commands: Readonly<Record<string, Row>> = {
  start: { summary: "Boot everything and serve: the container's CMD", load: () => import("./start.ts") },
  health: { summary: "Ask the running instance: the container's HEALTHCHECK", load: () => import("./health.ts") },
  generate: { summary: "Make images from a shell or a script, no server needed", load: () => import("./generate.ts") },
  doctor: { summary: "Say what is wrong with this machine, and the fix", load: () => import("./doctor.ts") },
  merge: { summary: "Fuse LoRAs into checkpoints", load: () => import("./merge.ts") },
  install: { summary: "Bake ComfyUI and its nodes into an image", load: () => import("./install.ts") },
  service: { summary: "List, restart or stop services; read their logs", load: () => import("./service.ts") },
  config: { summary: "Show, check or begin a configuration", load: () => import("./config.ts") },
  supervise: { summary: "The process that start becomes once it has planned", internal: true, load: () => import("./supervise.ts") },
  work: { summary: "The worker process that start adds as a service", internal: true, load: () => import("./work.ts") },
  template: { summary: "Finds a template's files for the bundled engine", internal: true, load: () => import("./template.ts") },
  steps: { summary: "The process of a task made of steps", internal: true, load: () => import("./steps.ts") },
};

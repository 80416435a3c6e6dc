/** A pod on a volume of its own: the profile comfyui-pod with stand-ins for its programs, run as a user runs it. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { findFreePorts } from "../../src/machine/free-ports.ts";
import { createPlace, type Program } from "../commands/program.ts";

export const standIn = (name: string, ...flags: string[]): string[] => [
  process.execPath,
  ...(process.versions["deno"] === undefined ? [] : ["run", "-A"]),
  fileURLToPath(new URL("../fixtures/stand-in.ts", import.meta.url)),
  name,
  ...flags,
];

export interface Pod extends AsyncDisposable {
  readonly workspace: string;
  readonly app: string;
  readonly dir: string;
  readonly healthUrl: string;
  /** Where ComfyUI shall listen. */
  readonly comfyuiPort: number;
  /** A file's text within the workspace. */
  read(path: string): string;
  /** `config` lies over the stand-ins, `env` over the pod's own. */
  start(options?: { config?: PodConfig; env?: Record<string, string> }): Program;
  /** Writes the file anew and tells fettle (SIGHUP); `config` as for `start`. */
  reload(fettle: Program, config: PodConfig): void;
  run(args: readonly string[]): Program;
}

export interface PodConfig {
  readonly services?: Readonly<Record<string, Readonly<Record<string, unknown>> | null>>;
  readonly [key: string]: unknown;
}

export async function createPod(): Promise<Pod> {
  const place = createPlace();
  const dir = mkdtempSync(join(tmpdir(), "fettle-pod-"));
  const [workspace, app] = [join(dir, "workspace"), join(dir, "app")];
  for (const folder of [workspace, join(app, "comfyui/models"), join(app, "preset_manager")]) mkdirSync(folder, { recursive: true });
  const [nginx = 0, comfyui = 0, presets = 0, code = 0, jupyter = 0, ssh = 0, health = 0] = await findFreePorts(7);
  const pod = {
    WORKSPACE_DIR: workspace,
    APP_DIR: app,
    PRE_START_SCRIPT: join(dir, "pre_start.sh"),
    POST_START_SCRIPT: join(dir, "post_start.sh"),
    SSH_DIR: join(dir, "ssh"),
    SSHD_RUN_DIR: join(dir, "sshd"),
    NGINX_PORT: String(nginx),
    COMFYUI_PORT: String(comfyui),
    PRESET_MANAGER_PORT: String(presets),
    CODE_SERVER_PORT: String(code),
    JUPYTERLAB_PORT: String(jupyter),
    SSH_PORT: String(ssh),
    FETTLE_HEALTH_PORT: String(health),
    FETTLE_LOG_DIR: "",
  };
  const commands: Readonly<Record<string, readonly string[]>> = {
    nginx: standIn("nginx", "--port", `${nginx}`),
    "preset-manager": standIn("preset-manager", "--port", `${presets}`),
    "preset-downloads": standIn("preset-downloads"),
    "code-server": standIn("code-server", "--port", `${code}`),
    jupyterlab: standIn("jupyterlab", "--port", `${jupyter}`),
    ssh: standIn("ssh", "--port", `${ssh}`),
    "ssh-host-keys": ["/bin/true"],
  };
  const file = join(dir, "fettle.yaml");
  /** An engine's command is its own: the stand-in takes the place of its Python, and of what that would run. */
  const engineOf = ({ command, ...rest }: Readonly<Record<string, unknown>>) => {
    const words = command as readonly string[];
    const path = join(dir, `python-${createHash("sha256").update(words.join(" ")).digest("hex").slice(0, 8)}`);
    writeFileSync(path, `#!/bin/sh\nexec ${words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ")}\n`, { mode: 0o755 });
    return { python: path, ...rest };
  };
  const write = ({ services: { comfyui: engine, ...own } = {}, ...rest }: PodConfig) => {
    const names = new Set([...Object.keys(commands), ...Object.keys(own)]);
    const services = Object.fromEntries(
      [...names].map((name) => [name, own[name] === null ? null : { ...(commands[name] && { command: commands[name] }), ...own[name] }]),
    );
    writeFileSync(
      file,
      stringify({
        extends: "comfyui-pod",
        ...rest,
        services,
        engines: { comfyui: engineOf({ command: standIn("comfyui", "--port", `${comfyui}`), ...engine }) },
      }),
    );
  };
  return {
    workspace,
    app,
    dir,
    comfyuiPort: comfyui,
    healthUrl: `http://127.0.0.1:${health}`,
    read: (path) => readFileSync(join(workspace, path), "utf8"),
    start({ config = {}, env = {} } = {}) {
      write(config);
      return place.run(["start", "--config", file], { env: { ...pod, ...env } });
    },
    reload(fettle, config) {
      write(config);
      process.kill(fettle.pid, "SIGHUP");
    },
    run: (args) => place.run(args, { env: pod }),
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

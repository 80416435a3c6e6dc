// The suite of every engine on a real ComfyUI.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { connectComfyui } from "../../../src/engines/comfyui/connect.ts";
import { pause } from "../../../src/util/pause.ts";
import { engineConformance, type Started } from "../../conformance/engine.ts";
import { noOp, textJob } from "./setting.ts";
import { readTarget, type Target } from "./target.ts";

const target = readTarget(process.env);

engineConformance({
  name: "comfyui, the real one",
  async start() {
    const { url, kill } = target.type === "running" ? { url: target.url } : await launch(target);
    const started: Started = {
      connect: (options) => connectComfyui({ name: "comfyui", url, slots: 1 }, options),
      ...(kill && { kill }),
      [Symbol.asyncDispose]: async () => await kill?.(),
    };
    return started;
  },
  quick: { workflow: noOp() },
  long: textJob({ steps: 9000 }),
  stepping: textJob({ steps: 6 }),
  bad: [
    { workflow: { "1": { class_type: "SaveImag", inputs: {} } } },
    { workflow: { "1": { class_type: "LoadImage", inputs: { image: "absent.png" } }, "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } } } },
    { prompt: 1 },
  ],
});

async function launch({ directory, python, args, models, data }: Extract<Target, { type: "launch" }>): Promise<{ url: string; kill: () => Promise<void> }> {
  const port = await freePort();
  const folders = ["output", "input", "temp", "user"].flatMap((name) => {
    const path = join(data, "conformance", name);
    mkdirSync(path, { recursive: true });
    return [`--${name}-directory`, path];
  });
  const paths = join(data, "conformance", "models.yaml");
  writeFileSync(paths, `suite:\n  base_path: ${models}\n  checkpoints: checkpoints\n`);
  const child: ChildProcess = spawn(
    python,
    ["main.py", "--listen", "127.0.0.1", "--port", String(port), "--disable-auto-launch", ...folders, "--extra-model-paths-config", paths, ...args],
    {
      cwd: directory,
      stdio: "ignore",
    },
  );
  const ended = once(child, "close");
  const kill = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await ended;
  };
  process.once("exit", () => child.kill("SIGKILL"));
  const url = `http://127.0.0.1:${port}`;
  while (child.exitCode === null && !(await fetch(`${url}/system_stats`).catch(() => undefined))?.ok) await pause(200);
  return { url, kill };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

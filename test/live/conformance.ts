// The suite of every engine on a real AUTOMATIC1111 webui.
import { rmSync } from "node:fs";
import { connectSdapi } from "../../src/engines/sdapi/connect.ts";
import { engineConformance, type Started } from "../conformance/engine.ts";
import { engineName, isAlive, seedJob, startWithReal, untilGone, urlOf } from "./setting.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);

engineConformance({
  name: "a1111, the real webui",
  async start() {
    const fettle = await startWithReal(target);
    await fettle.event("supervisor.ready");
    const url = await urlOf(fettle, engineName);
    const kill = async () => {
      const pid = await fettle.servicePid(engineName);
      if (isAlive(pid)) process.kill(pid, "SIGKILL");
      await untilGone(pid);
    };
    const started: Started = {
      connect: (options) => connectSdapi("a1111", { progressMs: 50 })({ name: engineName, url, slots: 1 }, options),
      ...(target.type === "launch" && { kill }),
      async [Symbol.asyncDispose]() {
        await fettle.stop();
        rmSync(fettle.dir, { recursive: true, force: true });
      },
    };
    return started;
  },
  quick: seedJob,
  long: { ...seedJob, steps: 9000 },
  stepping: { ...seedJob, steps: 100 },
  bad: [
    { ...seedJob, steps: "many" },
    { ...seedJob, init_images: ["no image"] },
  ],
});

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { skip, startBundledEngine } from "../../fixtures/bundled-engine.ts";
import { startRunpodPlatform } from "../../doubles/runpod-platform.ts";
import { httpConfig, runpodConfig, startRig } from "../../jobs/worker-rig.ts";
import { createPlace, type Program } from "../../commands/program.ts";
import { pause } from "../../../src/util/pause.ts";
import { connect } from "./connection.ts";

type State = { job_count: number; sampling_step: number; sampling_steps: number };

/** Each step takes long enough to be told from the next. */
const long = { prompt: "a lighthouse", steps: 400, width: 512, height: 512, seed: 7 };
/** The step that runs when the cancel comes, and one that may end between our look and the cancel. */
const mostStepsAfter = 2;

async function look(url: string): Promise<State> {
  return ((await (await fetch(`${url}/sdapi/v1/progress?skip_current_image=true`)).json()) as { state: State }).state;
}

async function until(url: string, wanted: (state: State) => boolean): Promise<State> {
  for (const giveUp = AbortSignal.timeout(60_000); ;) {
    const state = await look(url);
    if (wanted(state)) return state;
    giveUp.throwIfAborted();
    await pause(5);
  }
}

/** Runs the route's cancel in mid-job and sees that the engine does not go on. `cancel` resolves when the route has cancelled. */
async function assertStops(url: string, begin: () => Promise<unknown>, cancel: () => unknown): Promise<void> {
  await begin();
  await until(url, ({ job_count: count, sampling_step: step, sampling_steps: steps }) => count > 0 && steps === long.steps && step > 0);
  const cancelled = Promise.resolve(cancel());
  const { sampling_step: before } = await cancelled.then(() => look(url));
  const { sampling_step: after } = await until(url, ({ job_count: count }) => count === 0);
  assert.ok(after - before <= mostStepsAfter, `it went on from step ${before} to step ${after} of ${long.steps}`);
}

test("a job cancelled by any route stops the real engine within one step", { timeout: 300_000, skip }, async (t) => {
  await using real = await startBundledEngine();
  const engine = () => connect(real.url, { kind: "diffusers" });
  while (!(await engine().isReady({ signal: AbortSignal.timeout(120_000) })));
  // The model is loaded by the first job.
  await fetch(`${real.url}/sdapi/v1/txt2img`, { method: "POST", body: JSON.stringify({ ...long, steps: 1 }) });

  await t.test("POST /cancel", async () => {
    await using rig = await startRig(engine(), { sources: { http: httpConfig() } });
    const url = await rig.untilListening();
    const post = async (path: string, body: unknown = {}) => (await fetch(url + path, { method: "POST", body: JSON.stringify(body) })).json();
    await assertStops(
      real.url,
      () => post("/run", { id: "job", input: long }),
      () => post("/cancel/job"),
    );
    assert.equal(((await post("/status/job")) as { status: string }).status, "CANCELLED");
  });

  await t.test("RunPod's job-stop", async () => {
    await using platform = await startRunpodPlatform();
    await using _rig = await startRig(engine(), { sources: { runpod: runpodConfig(platform.env()) } });
    await assertStops(
      real.url,
      async () => platform.submit({ id: "job", input: long }),
      () => platform.stopJob("job"),
    );
  });

  await t.test("the drain's deadline after SIGTERM", async () => {
    const connected = engine();
    const interrupted = Promise.withResolvers<void>();
    const watched: typeof connected = {
      ...connected,
      run(attempt, options) {
        options.signal.addEventListener("abort", () => interrupted.resolve(), { once: true });
        return connected.run(attempt, options);
      },
    };
    await using rig = await startRig(watched, { sources: { http: httpConfig() }, stopBudgetMs: 400 });
    const url = await rig.untilListening();
    let ended: Promise<unknown> | undefined;
    await assertStops(
      real.url,
      () => fetch(`${url}/run`, { method: "POST", body: JSON.stringify({ id: "job", input: long }) }),
      async () => {
        ended = rig.shutDown();
        await interrupted.promise;
      },
    );
    await ended;
  });

  await t.test("SIGINT of generate", async () => {
    await using place = createPlace();
    const config = join(place.dir, "engine.yaml");
    writeFileSync(config, JSON.stringify({ engines: { bundled: { kind: "diffusers", url: real.url } } }));
    const { prompt, ...size } = long;
    const flags = Object.entries(size).flatMap(([name, value]) => [`--${name}`, String(value)]);
    let fettle: Program | undefined;
    await assertStops(
      real.url,
      async () => void (fettle = place.run(["generate", "--config", config, "--prompt", prompt, ...flags])),
      () => void fettle?.stop("SIGINT"),
    );
    assert.equal(await fettle?.ended, 130);
  });
});

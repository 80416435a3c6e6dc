// One fettle on one real engine; the tests run in this order and leave it running for the next. Run by scripts/live.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, test } from "node:test";
import { untilBusy, untilIdle } from "./engine.ts";
import { type Fettle, type JobReply } from "./fettle.ts";
import { engineName, isAlive, type Life, seedJob, startWithReal, stepsThatTake, untilGone, urlOf } from "./setting.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);
const skipKill = target.type === "launch" ? false : "only an engine that fettle launched (A1111_DIR) is killed";

let real: Fettle;
let url = "";
let stepsFor: (ms: number) => number = () => 20;
let image = "";
const started: Fettle[] = [];
const say = (line: string) => console.log(`  ${line}`);

after(async () => {
  await Promise.all(started.map((fettle) => fettle.stop()));
  for (const { dir } of started) rmSync(dir, { recursive: true, force: true });
});

async function boot(life: Life): Promise<void> {
  real = await startWithReal(target, life);
  started.push(real);
  const { afterMs } = await real.event("supervisor.ready");
  await real.event("worker.listening");
  url = await urlOf(real, engineName);
  say(`ready after ${Math.round(afterMs)} ms at ${url}`);
}

const run = (input: Record<string, unknown>, id?: string) => real.ask("POST", "/runsync?wait=240000", { ...(id && { id }), input });
const begin = (id: string, input: Record<string, unknown>) => real.ask("POST", "/run", { id, input });

/** A good job: one image, info that is JSON again. */
function assertDone(reply: JobReply): { info: Record<string, unknown>; images: readonly string[] } {
  assert.equal(reply.status, "COMPLETED", reply.error);
  const { images, info, parameters } = reply.output ?? assert.fail("a finished job has an output");
  assert.ok(
    Buffer.from(images[0] ?? "", "base64")
      .subarray(1, 4)
      .equals(Buffer.from("PNG")),
  );
  assert.equal(typeof parameters, "object");
  return { info: JSON.parse(info) as Record<string, unknown>, images };
}

function assertRejected(reply: JobReply, said: RegExp): void {
  assert.deepEqual([reply.status, reply.errorCode], ["FAILED", "engine.rejected"], JSON.stringify(reply));
  assert.match(reply.error ?? "", said);
}

test("fettle boots it and takes jobs", async () => {
  // Longer than any short job takes on a busy machine: what ends within it must be answered.
  await boot({ stopBudget: "120s" });
  stepsFor = await stepsThatTake(url);
  say(`about ${stepsFor(1000)} steps a second`);
});

test("txt2img: the seed's job", async () => {
  const reply = await run(seedJob);
  const { info, images } = assertDone(reply);
  image = images[0] ?? "";
  assert.deepEqual([info["prompt"], info["steps"], info["sampler_name"], info["width"]], [seedJob.prompt, 4, "DPM++ 2M", 64]);
  say(`done in ${reply.executionTime} ms`);
});

test("img2img, because the job brings an image", async () => {
  const { info } = assertDone(await run({ ...seedJob, init_images: [image], denoising_strength: 0.5 }));
  assert.equal(info["denoising_strength"], 0.5);
});

test("several images, and a grid that is no image of its own", async () => {
  const { info, images } = assertDone(await run({ ...seedJob, seed: 7, n_iter: 2, batch_size: 2 }));
  assert.deepEqual([images.length, info["all_seeds"]], [4, [7, 8, 9, 10]]);
});

test("what the engine refuses is a failed job that says why", async () => {
  assertRejected(await run({ ...seedJob, steps: "many" }), /steps/);
  assertRejected(await run({ ...seedJob, script_name: "no such script" }), /Script 'no such script' not found/);
  assertRejected(await run({ ...seedJob, init_images: ["no image"] }), /Invalid encoded image/);
  const broken = await run({ ...seedJob, steps: 0 });
  assert.deepEqual([broken.status, broken.errorCode], ["FAILED", "engine.failed"]);
  assert.match(broken.error ?? "", /ZeroDivisionError/);
  const absurd = await run({ ...seedJob, width: 200_000, height: 200_000 });
  assert.deepEqual([absurd.status, absurd.errorCode], ["FAILED", "job.invalid"]);
  assertDone(await run(seedJob));
});

test("progress answers while a job runs, and grows", async () => {
  const steps = stepsFor(4000);
  await begin("progress", { ...seedJob, steps });
  const first = await untilBusy(url, steps);
  assert.ok(first.progress > 0 && first.progress < 1);
  assert.equal((await real.ask("GET", "/status/progress")).status, "IN_PROGRESS");
  assertDone(await run({}, "progress"));
});

test("cancel in mid-job: the engine lets go, the next job is whole", async () => {
  const steps = stepsFor(60_000);
  await begin("cancel", { ...seedJob, steps });
  await begin("after-cancel", seedJob);
  await untilBusy(url, steps);
  const since = performance.now();
  await real.ask("POST", "/cancel/cancel");
  assert.equal((await run({}, "cancel")).status, "CANCELLED");
  say(`cancelled in ${Math.round(performance.now() - since)} ms`);
  const { info } = assertDone(await run({}, "after-cancel"));
  assert.equal(info["steps"], seedJob.steps);
  await untilIdle(url);
});

test("kill -9 of the engine in mid-job: the job runs again or says why, the engine returns, the next job works", { skip: skipKill }, async () => {
  const steps = stepsFor(6000);
  const pid = await real.servicePid(engineName);
  const since = real.now();
  await begin("engine-killed", { ...seedJob, steps });
  await untilBusy(url, steps);
  process.kill(pid, "SIGKILL");
  await real.event("service.exited", ({ service }) => service === engineName, since);
  const { afterMs } = await real.event("service.ready", ({ service }) => service === engineName, since);
  const reply = await run({}, "engine-killed");
  say(`${reply.status} with ${reply.retries ?? 0} retries; the engine was back ${Math.round(afterMs)} ms after its start`);
  if (reply.status === "COMPLETED") assert.equal(reply.retries, 1);
  else assert.deepEqual([reply.status, reply.errorCode], ["FAILED", "engine.lost"]);
  assert.notEqual(await real.servicePid(engineName), pid);
  assertDone(await run(seedJob));
});

test("kill -9 of the worker in mid-job: the engine stays, the worker returns, no job is lost", async () => {
  const steps = stepsFor(6000);
  const [engine, worker] = [await real.servicePid(engineName), await real.servicePid("worker")];
  const since = real.now();
  await begin("worker-killed", { ...seedJob, steps });
  await begin("behind-it", seedJob);
  await untilBusy(url, steps);
  process.kill(worker, "SIGKILL");
  await real.event("worker.listening", () => true, since);
  const reply = await run({}, "worker-killed");
  assertDone(reply);
  assert.equal(reply.retries, 1);
  assertDone(await run({}, "behind-it"));
  assert.notEqual(await real.servicePid("worker"), worker);
  assert.equal(await real.servicePid(engineName), engine);
});

test("SIGTERM in mid-job: what ends in time is answered, what does not comes back with the next start", async () => {
  const engine = await real.servicePid(engineName);
  const short = stepsFor(1500);
  const answered = run({ ...seedJob, steps: short }, "short");
  await untilBusy(url, short);
  await begin("waiting", seedJob);
  assert.equal(await real.stop(), 0);
  assertDone(await answered);
  if (engine > 0) await untilGone(engine);

  await boot({ stateDir: real.stateDir });
  assertDone(await run({}, "waiting"));
  const long = stepsFor(60_000);
  await begin("long", { ...seedJob, steps: long });
  await untilBusy(url, long);
  assert.equal(await real.stop(), 0);

  await boot({ stateDir: real.stateDir });
  await untilBusy(url, long);
  const last = await real.servicePid(engineName);
  await real.ask("POST", "/cancel/long");
  assert.equal((await run({}, "long")).status, "CANCELLED");
  assert.equal(await real.stop(), 0);
  assert.ok(last === 0 || !isAlive(last));
});

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { type Endpoint, type RunpodPlatform, startRunpodPlatform } from "./runpod-platform.ts";

const never = AbortSignal.timeout(60_000);

test("a take with work answers one job, without work it is held until there is", async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "a-u1", input: { prompt: "x" }, webhook: "http://w" });
  const first = await take(platform);
  assert.deepEqual(await first.json(), { id: "a-u1", input: { prompt: "x" }, webhook: "http://w" });
  const held = take(platform, { inProgress: 1 });
  await platform.waitForHeldTake({ signal: never });
  platform.submit({ id: "b-u1", input: {} });
  assert.equal(((await (await held).json()) as { id: string }).id, "b-u1");
  assert.deepEqual(
    platform.outstanding().map(({ id }) => id),
    ["a-u1", "b-u1"],
  );
  assert.deepEqual(platform.violations, []);
});

test("a take without work ends with 204 after the hold, a batch gets at most what it asked for", async () => {
  await using platform = await startRunpodPlatform({ holdMs: 5 });
  assert.equal((await take(platform)).status, 204);
  platform.submit(...["1", "2", "3"].map((id) => ({ id, input: {} })));
  const batch = (await (await take(platform, { batch: 2 })).json()) as { id: string }[];
  assert.deepEqual(
    batch.map(({ id }) => id),
    ["1", "2"],
  );
});

test("a cut take hands the job out again, and a closed poll gets nothing", async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "j", input: {} });
  const rule = platform.fail("job-take", { drop: "after" });
  await assert.rejects(take(platform));
  assert.equal(rule.struck, 1);
  await platform.waitFor("the job queued again", () => platform.summary().waiting || undefined, { signal: never });
  const quitter = new AbortController();
  assert.equal(((await (await take(platform)).json()) as { id: string }).id, "j");
  const gone = take(platform, { signal: quitter.signal });
  const poll = await platform.waitForHeldTake({ signal: never });
  quitter.abort();
  await assert.rejects(gone);
  await platform.waitFor("the poll seen closed", () => poll.status === 499 || undefined, { signal: never });
  platform.submit({ id: "k", input: {} });
  assert.equal(((await (await take(platform)).json()) as { id: string }).id, "k");
  assert.deepEqual(
    platform.job("j")?.handouts.map(({ delivered }) => delivered),
    ["no", "yes"],
  );
});

test("results, repeats and progress are told apart; a different repeat is a violation", async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "j", input: {} });
  await take(platform);
  await done(platform, "j", { status: "IN_PROGRESS", output: 50 });
  assert.equal(platform.outstanding().length, 1);
  await done(platform, "j", { output: { ok: true } });
  await done(platform, "j", { output: { ok: true } });
  const result = await platform.waitForResult("j", { signal: never });
  assert.equal(result.text, '{"output":{"ok":true}}');
  assert.equal(platform.job("j")?.progress.length, 1);
  assert.deepEqual(platform.summary().acceptedTwice, ["j"]);
  assert.deepEqual([platform.summary().differing, platform.violations], [[], []]);
  await done(platform, "j", { output: { ok: false } });
  assert.deepEqual(platform.summary().differing, ["j"]);
  await done(platform, "j", { error: { not: "a string" } });
  await done(platform, "ghost", { output: 1 });
  assert.deepEqual(platform.violations, [
    "job-done of j: a repeat differs from the first post",
    "job-done of j: a repeat differs from the first post",
    "job-done of j: error is not a string",
    "job-done of ghost: that job was never handed out",
  ]);
});

test("the key travels raw, or the answer is 401; unreplaced tokens are refused", async () => {
  await using platform = await startRunpodPlatform();
  const url = platform.env().RUNPOD_WEBHOOK_PING ?? "";
  const bearer = { authorization: "Bearer local-platform-key" };
  assert.equal((await call(`${fill(url)}&runpod_version=1`, bearer)).status, 401);
  assert.equal((await call(`${url}&runpod_version=1`)).status, 400);
  assert.equal(platform.summary().unauthorized, 1);
});

test("pings carry ids, and a stop reaches the stop poll", async () => {
  await using platform = await startRunpodPlatform();
  const seen = platform.waitForPing((query) => query.get("job_id") === "a,b", { signal: never });
  await call(`${fill(platform.env().RUNPOD_WEBHOOK_PING ?? "")}&job_id=a%2Cb&runpod_version=1.12.0`);
  assert.equal((await seen).query.get("runpod_version"), "1.12.0");
  platform.submit({ id: "a", input: {} });
  await take(platform);
  const poll = call(fill(platform.env().RUNPOD_WEBHOOK_GET_JOB ?? "").replace("/job-take/", "/job-stop/"));
  platform.stopJob("a");
  assert.deepEqual(await (await poll).json(), { jobsToStop: ["a"] });
  assert.equal((await platform.waitForAll({ signal: never })).unanswered, 0);
});

const faultCases = [
  [{ status: 503 }, (answer: Response) => assert.equal(answer.status, 503), false],
  [{ status: 429, retryAfter: "5" }, (answer: Response) => assert.equal(answer.headers.get("retry-after"), "5"), false],
  [{ html: true }, (answer: Response) => assert.match(answer.headers.get("content-type") ?? "", /html/), true],
  [{ badJson: true }, (answer: Response) => assert.rejects(answer.json()), true],
  [{ emptyBody: true }, async (answer: Response) => assert.equal(await answer.text(), ""), true],
] as const;

for (const [fault, check, accepted] of faultCases) {
  test(`fault ${JSON.stringify(fault)} strikes each endpoint once`, async () => {
    await using platform = await startRunpodPlatform({ holdMs: 0 });
    platform.submit({ id: "j", input: {} });
    const template = (name: string) => fill(platform.env()[`RUNPOD_WEBHOOK_${name}`] ?? "", "j");
    const sends = {
      "job-take-batch": () => take(platform, { batch: 2 }),
      "job-take": () => take(platform),
      "job-stream": () => call(`${template("POST_STREAM")}&isStream=false`, { method: "POST", body: '{"output":1}' }),
      "job-done": () => done(platform, "j", { output: 1 }),
      ping: () => call(`${template("PING")}&runpod_version=1`),
      "job-stop": () => call(template("GET_JOB").replace("/job-take/", "/job-stop/")),
    };
    for (const [endpoint, send] of Object.entries(sends)) {
      const rule = platform.fail(endpoint as Endpoint, fault);
      await check(await send());
      assert.equal(rule.struck, 1, endpoint);
      if (endpoint === "job-take") assert.equal((await take(platform)).status, 200);
    }
    assert.equal(platform.job("j")?.chunks[0]?.accepted, accepted);
    assert.equal(platform.results("j")[0]?.accepted, accepted);
    assert.equal((await done(platform, "j", { output: 1 })).status, 200);
    assert.equal(platform.outstanding().length, 0);
    assert.deepEqual(platform.violations, []);
  });
}

test("a second take while one is held is a violation", async () => {
  await using platform = await startRunpodPlatform();
  const takes = [take(platform), take(platform)];
  await platform.waitFor("two takes", () => platform.calls("job-take")[1], { signal: never });
  platform.submit({ id: "1", input: {} }, { id: "2", input: {} });
  await Promise.all(takes);
  assert.deepEqual(platform.violations, ["a second take while one is in flight"]);
});

test("dropped and hung posts: only the one that took effect is accepted", async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "j", input: {} });
  await take(platform);
  for (const drop of ["before", "mid", "after"] as const) {
    platform.fail("job-done", { drop });
    await assert.rejects(done(platform, "j", { output: "x".repeat(200_000) }));
  }
  platform.fail("job-done", { hang: true });
  const quitter = new AbortController();
  const hung = done(platform, "j", { output: "x".repeat(200_000) }, quitter.signal);
  await platform.waitFor("the hung post", () => platform.results("j")[1], { signal: never });
  quitter.abort();
  await assert.rejects(hung);
  assert.deepEqual(
    platform.results("j").map((post) => post.accepted),
    [true, false],
  );
});

test("random faults repeat exactly with their seed", async () => {
  const runs = await Promise.all(
    [7, 7, 8].map(async (seed) => {
      await using platform = await startRunpodPlatform({ holdMs: 0 });
      platform.fail("job-take", { status: 500 }, { probability: 0.5, seed });
      const statuses = [];
      for (let index = 0; index < 40; index += 1) statuses.push((await take(platform)).status);
      return statuses.join();
    }),
  );
  assert.equal(runs[0], runs[1]);
  assert.notEqual(runs[0], runs[2]);
});

test("answers are held until the test lets them go, and large bodies are hashed, not kept", async () => {
  await using platform = await startRunpodPlatform();
  platform.submit({ id: "j", input: {} });
  await take(platform);
  const gate = platform.holdAnswers("job-done");
  const posting = done(platform, "j", { output: "y".repeat(3_000_000) });
  await gate.untilHeld(1, { signal: never });
  assert.equal(platform.outstanding().length, 1);
  gate.release();
  await posting;
  const [post] = platform.results("j");
  assert.deepEqual([post?.sizeBytes, post?.text, post?.accepted], [3_000_013, undefined, true]);
});

const python = process.env["FETTLE_TEST_PYTHON"];
const skip = python ? false : "FETTLE_TEST_PYTHON names no Python with runpod in it: the real SDK was NOT tried";
test("the real Python SDK takes three jobs and answers them", { skip, timeout: 60_000 }, async () => {
  await using platform = await startRunpodPlatform({ holdMs: 500 });
  const script = fileURLToPath(new URL("../fixtures/sdk_worker.py", import.meta.url));
  const env = { ...process.env, ...platform.env(), RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true", RUNPOD_SKIP_GPU_CHECK: "true" };
  const child: ChildProcess = spawn(python ?? "", ["-u", script], { env, stdio: "ignore" });
  const exited = once(child, "exit");
  try {
    platform.submit(...["1", "2", "3"].map((id) => ({ id, input: { value: id } })));
    await platform.waitForAll({ signal: never });
    await platform.waitForPing(undefined, { signal: never, past: true });
    assert.equal(platform.results("2")[0]?.text, '{"output": {"echo": {"value": "2"}}}');
    assert.deepEqual(platform.violations, []);
  } finally {
    child.kill("SIGTERM");
    await exited;
  }
});

/** Replaces the worker id and, for posts, the job id, as a worker does. */
function fill(template: string, jobId?: string): string {
  const url = template.replaceAll("$RUNPOD_POD_ID", "localpod01");
  return url.replaceAll("$ID", jobId ?? "localpod01");
}

/** A request on a connection of its own: fetch would repeat a request by itself when a kept connection is cut. */
function call(url: string, init: { method?: string; body?: string; signal?: AbortSignal; authorization?: string } = {}): Promise<Response> {
  const { method = "GET", body, authorization = "local-platform-key" } = init;
  return new Promise((resolve, reject) => {
    const options = { method, agent: false, headers: { authorization }, ...(init.signal ? { signal: init.signal } : {}) };
    const sent = request(url, options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () => {
        const headers = new Headers({ "content-type": answer.headers["content-type"] ?? "" });
        if (answer.headers["retry-after"]) headers.set("retry-after", answer.headers["retry-after"]);
        const status = answer.statusCode ?? 0;
        resolve(new Response(status === 204 ? null : Buffer.concat(chunks), { status, headers }));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function take(platform: RunpodPlatform, ask: { batch?: number; inProgress?: 0 | 1; signal?: AbortSignal } = {}): Promise<Response> {
  let url = fill(platform.env().RUNPOD_WEBHOOK_GET_JOB ?? "");
  if (ask.batch) url = `${url.replace("/job-take/", "/job-take-batch/")}&batch_size=${ask.batch}`;
  return call(`${url}&job_in_progress=${ask.inProgress ?? 0}`, ask.signal ? { signal: ask.signal } : {});
}

function done(platform: RunpodPlatform, id: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const url = `${fill(platform.env().RUNPOD_WEBHOOK_POST_OUTPUT ?? "", id)}&isStream=false`;
  return call(url, { method: "POST", body: JSON.stringify(body), ...(signal ? { signal } : {}) });
}

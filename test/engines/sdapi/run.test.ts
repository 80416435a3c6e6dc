import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { startNoopEngine } from "../../doubles/noop-engine.ts";
import { sendJson, startTinyServer } from "../../doubles/tiny-server.ts";
import { makeAttempt, sdapiAnswer } from "../../fixtures/sdapi-answer.ts";
import { connect, say } from "./connection.ts";

const txt2img = "/sdapi/v1/txt2img";
const never = new AbortController().signal;

test("a job reaches the engine untouched and its answer comes back untouched", async () => {
  const answer = sdapiAnswer();
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, answer));
  await using attempt = await makeAttempt({ prompt: "ü", unknown: [1, { deep: null }], steps: 4 });
  const result = await connect(server.url).run(attempt, { signal: never });
  assert.equal(say(result), "done");
  assert.equal(server.seen[0]?.body, JSON.stringify(attempt.input));
  assert.equal(server.seen[0]?.path, txt2img);
  assert.equal(await readFile(`${attempt.dir}/answer.json`, "utf8"), answer);
});

test("init_images leads to img2img; the bundled engine also gets the attempt's id; credentials go first", async () => {
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, sdapiAnswer()));
  const url = server.url.replace("//", "//me:p%40ss@");
  const run = async (input: Record<string, unknown>, kind: "a1111" | "diffusers") => {
    await using attempt = await makeAttempt(input);
    assert.equal(say(await connect(url, { kind }).run(attempt, { signal: never })), "done");
    return server.seen.at(-1);
  };
  assert.equal((await run({ init_images: null }, "a1111"))?.path, txt2img);
  assert.equal((await run({ init_images: ["x"] }, "a1111"))?.path, "/sdapi/v1/img2img");
  assert.deepEqual(JSON.parse((await run({ prompt: "a" }, "diffusers"))?.body ?? ""), { prompt: "a", force_task_id: "attempt-1" });
  assert.deepEqual(JSON.parse((await run({ force_task_id: "mine" }, "diffusers"))?.body ?? ""), { force_task_id: "mine" });
  assert.equal(server.seen[0]?.headers.authorization, `Basic ${Buffer.from("me:p@ss").toString("base64")}`);
});

test("sizes that would kill an engine are refused before anything is sent", async () => {
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, sdapiAnswer()));
  const inputs: [Record<string, unknown>, string][] = [
    [{ width: 200_000, height: 200_000 }, "width"],
    [{ height: "200000" }, "height"],
    [{ width: 8192, height: 8192, batch_size: 5 }, "batch_size"],
    [{ n_iter: 1e9 }, "n_iter"],
    [{ enable_hr: true, width: 4096, hr_scale: 8 }, "hr_scale"],
    [{ steps: 1e308 }, "steps"],
  ];
  for (const [input, field] of inputs) {
    await using attempt = await makeAttempt(input);
    const result = await connect(server.url).run(attempt, { signal: never });
    assert.match(say(result), /^job\.invalid Cannot run the job: \w+: /);
    assert.equal(result.type === "failed" && result.details?.["field"], field);
  }
  assert.equal(server.seen.length, 0);
  await using odd = await makeAttempt({ width: "wide", batch_size: null, steps: 150, height: 4096 });
  assert.equal(say(await connect(server.url).run(odd, { signal: never })), "done");
});

test("502, 503 and 504 are tried again; the last answer counts", async () => {
  const statuses = [503, 502, 200];
  await using server = await startTinyServer((_request, response) => sendJson(response, statuses.shift() ?? 504, sdapiAnswer()));
  await using attempt = await makeAttempt();
  assert.equal(say(await connect(server.url).run(attempt, { signal: never })), "done");
  assert.match(say(await connect(server.url).run(attempt, { signal: never })), /^engine\.unreachable retryable .*HTTP 504, 3 times/);
  assert.equal(server.count(txt2img), 6);
});

test("a refused connection is tried again, and says so in the end", async () => {
  const server = await startTinyServer(() => {});
  await server.stop();
  await using attempt = await makeAttempt();
  assert.match(say(await connect(server.url).run(attempt, { signal: never })), /^engine\.unreachable retryable .*refused\), 3 times/);
});

test("a connection that breaks before the answer is a lost engine, and the job was sent once", async () => {
  let drop = false;
  await using server = await startTinyServer((_request, response) => (drop ? response.socket?.destroy() : sendJson(response, 200, sdapiAnswer())));
  await using attempt = await makeAttempt();
  const engine = connect(server.url);
  // A first job, so that a connection might have been kept; a broken kept one is what some clients retry by themselves.
  assert.equal(say(await engine.run(attempt, { signal: never })), "done");
  drop = true;
  assert.match(say(await engine.run(attempt, { signal: never })), /^engine\.lost retryable /);
  assert.equal(server.count(txt2img), 2);
});

test("an answer that breaks off is a lost engine, with a length and without", async () => {
  for (const headers of [{ "content-length": 100_000 }, {}]) {
    await using server = await startTinyServer((_request, response) => {
      response.writeHead(200, headers);
      response.write(sdapiAnswer().slice(0, 40), () => response.socket?.destroy());
    });
    await using attempt = await makeAttempt();
    assert.match(say(await connect(server.url).run(attempt, { signal: never })), /^engine\.lost retryable /);
  }
});

test("a 200 that is no answer never counts as success", async () => {
  const bodies: [string, RegExp][] = [
    ["", /^engine\.bad-answer .*is empty/],
    ["<html>login</html>", /^engine\.bad-answer .*no JSON object/],
    [sdapiAnswer().slice(0, -9), /^engine\.bad-answer .*breaks off/],
    ['{"error":"x"}', /^engine\.bad-answer .*no "images"/],
    [sdapiAnswer([Buffer.from("no picture, but long enough")]), /^result\.bad-image /],
  ];
  await using server = await startTinyServer((request, response) =>
    sendJson(response, 200, bodies[Number((JSON.parse(request.body) as { n: number }).n)]?.[0] ?? ""),
  );
  for (const [n, [, reason]] of bodies.entries()) {
    await using attempt = await makeAttempt({ n });
    assert.match(say(await connect(server.url).run(attempt, { signal: never })), reason);
  }
});

test("a folder that cannot be written to is this machine's fault, not the engine's", async () => {
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, sdapiAnswer()));
  await using attempt = await makeAttempt();
  assert.match(say(await connect(server.url).run({ ...attempt, dir: `${attempt.dir}/missing` }, { signal: never })), /^result\.cannot-store (?!retryable)/);
});

test("an engine that dies in mid-job is lost", async () => {
  await using engine = await startNoopEngine();
  await using attempt = await makeAttempt({ noop: { die: true } });
  assert.match(say(await connect(engine.url).run(attempt, { signal: never })), /^engine\.lost retryable /);
  await engine.exited;
});

test("four answers of 4 MB at once come through whole", async () => {
  await using engine = await startNoopEngine();
  const results = await Promise.all(
    [1, 2, 3, 4].map(async (id) => {
      await using attempt = await makeAttempt({ prompt: `p${id}`, noop: { sizeBytes: 4_000_000 } });
      return await connect(engine.url).run(attempt, { signal: never });
    }),
  );
  for (const result of results) assert.ok(result.type === "done" && result.output.answer.sizeBytes > 4_000_000, say(result));
});

test("ready is a list of models with a 2xx status, and nothing else", async () => {
  const answers: [number, unknown, boolean][] = [
    [200, [], true],
    [200, [{ title: "a" }], true],
    [404, [], false],
    [200, { detail: "Not Found" }, false],
    [200, "<html>", false],
    [503, [], false],
  ];
  let current = answers[0];
  await using server = await startTinyServer((_request, response) => sendJson(response, current?.[0] ?? 0, current?.[1]));
  const engine = connect(server.url);
  for (const answer of answers) {
    current = answer;
    assert.equal(await engine.isReady({ signal: never }), answer[2], JSON.stringify(answer));
  }
  await server.stop();
  assert.equal(await engine.isReady({ signal: never }), false);
  assert.equal(await engine.isReady({ signal: AbortSignal.abort() }), false);
});

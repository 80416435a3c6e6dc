import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";
import { sendJson, startTinyServer } from "../../doubles/tiny-server.ts";
import { makePng } from "../../fixtures/png.ts";
import { makeAttempt, sdapiAnswer } from "../../fixtures/sdapi-answer.ts";
import { connect, say } from "./connection.ts";

const black = sdapiAnswer([makePng({ width: 8, height: 8 })]);
const never = new AbortController().signal;

interface Wish {
  readonly kind: "a1111" | "diffusers";
  readonly blackImages: "fail" | "retry";
  readonly answers: readonly string[];
}

/** Runs one job on an engine that gives these answers in turn; tells how it ended and what the engine was asked. */
async function run({ kind, blackImages, answers }: Wish) {
  const waiting = [...answers];
  await using server = await startTinyServer((_request, response) => sendJson(response, 200, waiting.shift() ?? black));
  await using attempt = await makeAttempt({ prompt: "a", seed: 5 });
  const readAnswer = (one: typeof attempt) => createAnswerReader(one, { blackImages });
  const result = await connect(server.url, { kind, options: { readAnswer } }).run(attempt, { signal: never });
  return { said: say(result), asked: server.seen.filter(({ path }) => path.includes("2img")).map(({ body }) => JSON.parse(body) as Record<string, unknown>) };
}

test("a black image is tried once more with the VAE in float32, where the engine can and the policy says so", async () => {
  const again = await run({ kind: "diffusers", blackImages: "retry", answers: [black, sdapiAnswer()] });
  assert.equal(again.said, "done");
  assert.deepEqual(
    again.asked.map((body) => [body["seed"], body["fettle_vae_dtype"]]),
    [
      [5, undefined],
      [5, "float32"],
    ],
  );
  const still = await run({ kind: "diffusers", blackImages: "retry", answers: [] });
  assert.match(still.said, /^result\.bad-image .*image 0 is all black, also with the VAE in float32\.$/);
  assert.equal(still.asked.length, 2);
});

test("the webui, and another policy, get no second try", async () => {
  for (const wish of [{ kind: "a1111", blackImages: "retry" } as const, { kind: "diffusers", blackImages: "fail" } as const]) {
    const failed = await run({ ...wish, answers: [black, sdapiAnswer()] });
    assert.match(failed.said, /^result\.bad-image .*all black\.$/);
    assert.equal(failed.asked.length, 1);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildJobRequest } from "../../../src/engines/sdapi/job-request.ts";

const id = "7-1";

function requestOf(input: Record<string, unknown>, kind: "a1111" | "diffusers", call?: string) {
  const request = buildJobRequest({ id, input, ...(call !== undefined && { call }) }, kind);
  assert.ok(!("type" in request), "type" in request ? request.message : "");
  return request;
}

test("without a call the input decides, and goes to A1111 byte for byte", () => {
  const input = { steps: 4, prompt: "cat", unknown: [1, null] };
  assert.deepEqual(requestOf(input, "a1111"), { method: "POST", path: "/sdapi/v1/txt2img", body: JSON.stringify(input), taskId: undefined });
  assert.equal(requestOf({ init_images: null }, "a1111").path, "/sdapi/v1/txt2img");
  assert.equal(requestOf({ init_images: [] }, "a1111").path, "/sdapi/v1/img2img");
});

test("a call that the job names is made as it is named", () => {
  assert.deepEqual(requestOf({}, "a1111", "GET /sdapi/v1/samplers"), { method: "GET", path: "/sdapi/v1/samplers", body: undefined, taskId: undefined });
  assert.equal(requestOf({ init_images: ["x"] }, "a1111", "POST /sdapi/v1/txt2img").path, "/sdapi/v1/txt2img");
  assert.deepEqual(requestOf({ image: "x" }, "a1111", "/sdapi/v1/png-info"), {
    method: "POST",
    path: "/sdapi/v1/png-info",
    body: '{"image":"x"}',
    taskId: undefined,
  });
});

test("the bundled engine gets a task id in generations, and an interrupt of its own in every call", () => {
  assert.deepEqual(JSON.parse(requestOf({ steps: 1 }, "diffusers").body ?? ""), { steps: 1, force_task_id: id });
  assert.equal(requestOf({ force_task_id: "own" }, "diffusers", "POST /sdapi/v1/img2img").taskId, "own");
  const info = requestOf({ image: "x" }, "diffusers", "POST /sdapi/v1/png-info");
  assert.deepEqual([info.body, info.taskId], ['{"image":"x"}', id]);
  assert.equal(requestOf({}, "diffusers", "GET /sdapi/v1/sd-models").taskId, id);
});

test("absurd sizes are refused in every call", () => {
  for (const [input, call] of [
    [{ width: 200_000 }, undefined],
    [{ upscaling_resize: 1000 }, "POST /sdapi/v1/extra-single-image"],
  ] as const) {
    const request = buildJobRequest({ id, input, ...(call && { call }) }, "a1111");
    assert.ok("type" in request && request.code === "job.invalid");
  }
});

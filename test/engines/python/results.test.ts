import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { AttemptResult } from "../../../src/engines/engine.ts";
import { failureOf, startHandler } from "./handler-process.ts";

/** One handler for many rows: `input.row` names the value to return. */
const rows = `
import runpod
class Odd:
    pass
def loop():
    value = []
    value.append(value)
    return value
def raise_(error):
    raise error
ROWS = {
    "text": lambda: "héllo \\U0001f600", "number": lambda: 1.5, "none": lambda: None, "true": lambda: True, "list": lambda: [1, {"a": None}],
    "dict": lambda: {"a": 1}, "empty": lambda: {}, "wrapped": lambda: {"output": 5}, "tuple": lambda: (1, 2), "surrogate": lambda: "\\ud800!",
    "error": lambda: {"error": "no"}, "error beside": lambda: {"error": "no", "images": [1]}, "error dict": lambda: {"error": {"code": 7}},
    "no error": lambda: {"error": "", "a": 1}, "refresh": lambda: {"refresh_worker": True, "a": 1}, "only refresh": lambda: {"refresh_worker": True},
    "refresh and error": lambda: {"refresh_worker": True, "error": "x"},
    "raise": lambda: raise_(ValueError("böse")), "exit": lambda: raise_(SystemExit(3)), "keyboard": lambda: raise_(KeyboardInterrupt()),
    "secret": lambda: raise_(RuntimeError("the key is swordfish-12345")),
    "oom": lambda: raise_(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")),
    "sticky": lambda: raise_(RuntimeError("CUDA error: device-side assert triggered")),
    "bytes": lambda: {"images": [{"data": b"x"}]}, "nan": lambda: {"a": [1, float("nan")]}, "set": lambda: {"my key": {1}}, "odd": lambda: [Odd()],
    "key": lambda: {"a": {(1, 2): 3}}, "loop": loop, "generator": lambda: (i for i in range(3)), "deep": lambda: deep(3000),
    "error beside bytes": lambda: {"error": "no", "data": b"x"},
}
def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value
def handler(job):
    return ROWS[job["input"]["row"]]()
runpod.serverless.start({"handler": handler})
`;

const outputOf = (result: AttemptResult): string => {
  assert.ok(result.type === "done", JSON.stringify(result));
  return readFileSync(result.output.answer.path, "utf8");
};

test("every kind of return value becomes the output that RunPod's SDK would post", { timeout: 120_000 }, async () => {
  await using handler = await startHandler(rows);
  const expected: Record<string, string> = {
    text: '"héllo 😀"',
    number: "1.5",
    none: "null",
    true: "true",
    list: '[1, {"a": null}]',
    dict: '{"a": 1}',
    // No output at all.
    empty: "",
    wrapped: '{"output": 5}',
    tuple: "[1, 2]",
    surrogate: '"\\ud800!"',
    "no error": '{"a": 1}',
    refresh: '{"a": 1}',
    "only refresh": "",
  };
  for (const [row, text] of Object.entries(expected)) {
    const result = await handler.run({ row });
    assert.equal(outputOf(result), text, row);
    assert.equal(result.type === "done" && result.output.wantsRefresh === true, row.includes("refresh"), row);
  }
});

test("an error is text, with what there is beside it, and what an exception means decides on a second try", { timeout: 120_000 }, async () => {
  await using handler = await startHandler(rows, { env: { MY_API_TOKEN: "swordfish-12345", RUNPOD_POD_ID: "pod-7" } });
  const fail = async (row: string) => failureOf(await handler.run({ row }));

  assert.deepEqual([(await fail("error")).text, (await fail("error")).output], ["no", undefined]);
  const beside = await fail("error beside");
  assert.equal(beside.text, "no");
  assert.equal(readFileSync(beside.output?.answer.path ?? "", "utf8"), '{"images": [1]}');
  assert.equal((await fail("error dict")).text, '{"code": 7}');
  const refresh = await fail("refresh and error");
  assert.deepEqual([refresh.text, refresh.output?.wantsRefresh, refresh.output?.answer.sizeBytes], ["x", true, 0]);
  assert.equal((await fail("error beside bytes")).text, "no");

  const raised = JSON.parse((await fail("raise")).text ?? "") as Record<string, string>;
  assert.deepEqual(Object.keys(raised), ["error_type", "error_message", "error_traceback", "hostname", "worker_id", "runpod_version"]);
  assert.deepEqual([raised["error_type"], raised["error_message"], raised["worker_id"]], ["<class 'ValueError'>", "böse", "pod-7"]);
  const frames = [...(raised["error_traceback"] ?? "").matchAll(/File "([^"]+)"/g)].map(([, file]) => file);
  assert.ok(frames.length > 0 && frames.every((file) => file?.endsWith("handler.py")), raised["error_traceback"]);

  // A handler that wants to exit, or is interrupted, ends its job and not the process.
  assert.match((await fail("exit")).text ?? "", /SystemExit/);
  assert.match((await fail("keyboard")).text ?? "", /KeyboardInterrupt/);
  const secret = await fail("secret");
  assert.ok(!JSON.stringify(secret).includes("swordfish") && secret.text?.includes("***"), JSON.stringify(secret));

  const oom = await fail("oom");
  assert.deepEqual([oom.code, oom.remedy, oom.retryable], ["engine.out-of-memory", "free-memory", true]);
  const sticky = await fail("sticky");
  assert.deepEqual([sticky.code, sticky.remedy, sticky.retryable], ["engine.cuda-error", "restart", true]);
});

test("a result that is no JSON fails its job and names the place", { timeout: 120_000 }, async () => {
  await using handler = await startHandler(rows);
  const says = async (row: string) => {
    const { code, message, text, retryable } = failureOf(await handler.run({ row }));
    assert.deepEqual([code, text, retryable], ["handler.failed", undefined, false]);
    return message;
  };
  const begin = "Cannot send the handler's result: ";
  assert.equal(await says("bytes"), `${begin}output.images[0].data is bytes; encode it, such as base64.b64encode(value).decode().`);
  assert.equal(await says("nan"), `${begin}output.a[1] is nan, which JSON cannot hold; return None or text instead.`);
  assert.equal(await says("set"), `${begin}output['my key'] is a set; return a list.`);
  assert.equal(await says("odd"), `${begin}output[0] is a __main__.Odd, which JSON does not know.`);
  assert.equal(await says("key"), `${begin}output.a has the key (1, 2), a tuple; keys must be text.`);
  assert.equal(await says("loop"), `${begin}output[0] contains itself.`);
  assert.match(await says("generator"), /output is a generator; to stream, the handler itself must be a generator function/);
  assert.match(await says("deep"), /nests deeper than/);
});

test("the handler sees the whole envelope, its own arguments and its folder", { timeout: 60_000 }, async () => {
  await using handler = await startHandler(
    `import sys, helper\ndef handler(event):\n    return {**event, "argv": sys.argv[1:], "name": __name__, "value": helper.VALUE, "first": sys.path[0] == __file__.rsplit("/", 1)[0]}`,
    { files: { "helper.py": "VALUE = 42\n" } },
  );
  const result = await handler.run({ a: 1 }, { jobId: "j", extra: { webhook: "http://x", policy: { ttl: 5 } } });
  assert.deepEqual(JSON.parse(outputOf(result)), {
    id: "j",
    input: { a: 1 },
    webhook: "http://x",
    policy: { ttl: 5 },
    argv: ["--own", "argument"],
    name: "__main__",
    value: 42,
    first: true,
  });
});

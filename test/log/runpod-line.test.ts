import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog, resolveFormat } from "../../src/log/log.ts";

function linesOf(say: (log: ReturnType<typeof createLog>) => void, secrets: string[] = []): string[] {
  const lines: string[] = [];
  say(createLog({ format: "runpod", level: "debug", secrets, write: (line) => void lines.push(line) }));
  return lines;
}

test("On RunPod each line is its SDK's JSON: requestId, message and level, in that order", () => {
  const lines = linesOf((log) => {
    log.info("Started.", { job: "job-1", event: "job.started" });
    log.success("webui is ready");
    log.warn("two\nlines");
    log.error('"quoted"');
    log.debug("fine");
    log.line("loading model", { service: "webui" });
  });
  assert.deepEqual(lines, [
    '{"requestId":"job-1","message":"Started.","level":"INFO"}\n',
    '{"requestId":null,"message":"webui is ready","level":"INFO"}\n',
    '{"requestId":null,"message":"two\\nlines","level":"WARN"}\n',
    '{"requestId":null,"message":"\\"quoted\\"","level":"ERROR"}\n',
    '{"requestId":null,"message":"fine","level":"DEBUG"}\n',
    '{"requestId":null,"message":"webui | loading model","level":"INFO"}\n',
  ]);
});

test("A message is cut in the middle at 4096 characters, and no cut uncovers a secret", () => {
  const secret = "s".repeat(3000);
  const [cut = ""] = linesOf((log) => log.info(`${"a".repeat(2048)}${"b".repeat(10)}${"c".repeat(2048)}`));
  assert.equal(JSON.parse(cut).message, `${"a".repeat(2048)}\n...TRUNCATED 10 CHARACTERS...\n${"c".repeat(2048)}`);
  const [masked = ""] = linesOf((log) => log.info(`${"a".repeat(1000)}${secret}${"b".repeat(1000)}`), [secret]);
  assert.equal(JSON.parse(masked).message, `${"a".repeat(1000)}***${"b".repeat(1000)}`);
  const [whole = ""] = linesOf((log) => log.info("x".repeat(4096)));
  assert.equal(JSON.parse(whole).message.length, 4096);
});

test("The lines that the SDK writes in a service of the user pass as they are", () => {
  const own = '{"requestId": "job-1", "message": "Finished.", "level": "INFO"}';
  assert.deepEqual(
    linesOf((log) => log.line(own, { service: "handler" })),
    [`${own}\n`],
  );
});

test("auto is this format only on the platform, and never against an explicit wish", () => {
  assert.deepEqual([resolveFormat("auto", { onRunpod: true }), resolveFormat("plain", { onRunpod: true })], ["runpod", "plain"]);
  assert.notEqual(resolveFormat("auto"), "runpod");
});

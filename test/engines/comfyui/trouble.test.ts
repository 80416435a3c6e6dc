import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { type ComfyDouble, type Faults, startComfyDouble } from "../../doubles/comfyui.ts";
import { answerOf, connect, holding, say, workflow } from "./connection.ts";

const noProgress = { prompt: "x", steps: 3, width: 64, height: 64 };

const deaf: readonly (readonly [title: string, faults: Partial<Faults>])[] = [
  ["the socket is refused", { socket: "refuse" }],
  ["the socket is silent", { socket: "silent" }],
  ["no frame says that it ended", { drops: (type) => type === "executing" || type.startsWith("execution_") }],
  ["only the last frame is lost", { drops: (type) => type === "executing" }],
  ["the history is late", { lateHistory: 4 }],
];
for (const [title, faults] of deaf)
  test(`${title}: jobs end right all the same`, async () => {
    await using comfy = await startComfyDouble();
    Object.assign(comfy.faults, faults);
    await using client = connect(comfy.url);
    for (let color = 0; color < 3; color++) assert.equal(answerOf(await client.run({ workflow: workflow(color) })).images.length, 1);
    answerOf(await client.run(noProgress));
    assert.ok([...comfy.worker.executions.values()].every((times) => times === 1));
  });

test("the socket drops in mid-job and comes back: the end is found in the history", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const running = client.run(holding());
  await comfy.untilHolding();
  comfy.dropSockets();
  comfy.worker.release();
  answerOf(await running);
  await comfy.asked("WS /ws", 2);
});

test("a job that goes on behind a deaf socket counts as alive; one behind a good socket is silent", async () => {
  for (const socket of ["silent", "good"] as const) {
    await using comfy = await startComfyDouble();
    comfy.faults.socket = socket;
    await using client = connect(comfy.url);
    let signs = 0;
    const running = client.run(holding(), { onActivity: () => void (signs += 1) });
    await comfy.untilHolding();
    await comfy.asked("GET /queue", comfy.count("GET /queue") + 2);
    const before = signs;
    await comfy.asked("GET /queue", comfy.count("GET /queue") + 2);
    assert.equal(signs > before, socket === "silent");
    comfy.worker.release();
    answerOf(await running);
  }
});

test("pictures over the socket that never came fail the job; the next one takes another way", async () => {
  await using comfy = await startComfyDouble();
  comfy.faults.drops = (type) => type === "picture";
  await using client = connect(comfy.url);
  const job = { workflow: workflow(1, { output: "SaveImageWebsocket" }) };
  assert.match(say(await client.run(job)), /^engine\.failed retryable Cannot run the job: pictures of SaveImageWebsocket were lost/);
  assert.equal(answerOf(await client.run(job)).images.length, 1);
  assert.equal(comfy.prompts[1]?.prompt["3"]?.class_type, "PreviewImage");
});

test("pictures over a silent socket take another way at once", async () => {
  await using comfy = await startComfyDouble();
  comfy.faults.socket = "silent";
  await using client = connect(comfy.url);
  assert.equal(answerOf(await client.run({ workflow: workflow(1, { output: "SaveImageWebsocket" }) })).images.length, 1);
});

test("the engine crashes in mid-job: it is lost, and may run again elsewhere", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const running = client.run(holding());
  await comfy.untilHolding();
  await comfy.crash();
  assert.match(say(await running), /^engine\.lost retryable Cannot run the job: the engine lost it/);
});

test("the engine came back within a moment and knows nothing of the job", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const running = client.run(holding());
  await comfy.untilHolding();
  comfy.restart();
  assert.match(say(await running), /^engine\.lost retryable .*it does not know the prompt any more/);
});

test("somebody deletes the waiting prompt: lost, not waited for for ever", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url, { slots: 2 });
  const first = client.run(holding());
  await comfy.untilHolding();
  const second = client.run({ workflow: workflow(2) });
  await comfy.until("a second prompt", () => comfy.worker.pending.length === 1);
  comfy.worker.pending.length = 0;
  assert.match(say(await second), /^engine\.lost retryable/);
  comfy.worker.release();
  answerOf(await first);
});

for (const promptVia of ["http", "websocket"] as const) {
  test(`a fork that gives ids of its own, prompts by ${promptVia}: each job is followed under the given id and runs once`, async () => {
    await using comfy = await startComfyDouble({ fork: true });
    await using client = connect(comfy.url, { settings: { promptVia } });
    for (let job = 0; job < 3; job++) answerOf(await client.run({ workflow: workflow() }));
    assert.equal(comfy.prompts.length, 3);
    const bad = await client.run({ workflow: { ...workflow(), "9": { class_type: "SaveImage", inputs: { images: ["404", 0], filename_prefix: "x" } } } });
    assert.match(say(bad), /node 9/);
  });
}

test("nobody listens: unreachable after the tries, and nothing was queued", async () => {
  const comfy = await startComfyDouble();
  await comfy.crash();
  await using client = connect(comfy.url);
  assert.match(say(await client.run({ workflow: workflow() })), /^engine\.unreachable retryable/);
});

test("the answer to POST /prompt is lost: the prompt is followed, not sent twice", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const { enqueue } = comfy.worker;
  comfy.worker.enqueue = (item) => {
    enqueue.call(comfy.worker, item);
    // The connection goes with the answer; the socket that hears stays.
    comfy.faults.status = () => undefined;
    comfy.cutRequests();
  };
  answerOf(await client.run({ workflow: workflow() }));
  assert.equal(comfy.prompts.length, 1);
});

test("Python holds everything up for a while: slow is not lost", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const running = client.run(holding());
  await comfy.untilHolding();
  comfy.faults.hangs = () => true;
  comfy.dropSockets();
  const history = `GET /history/${comfy.prompts[0]?.id}`;
  await comfy.asked(history, comfy.count(history) + 1);
  comfy.faults.hangs = () => false;
  comfy.cutRequests();
  comfy.worker.release();
  answerOf(await running);
});

test("the history answers 500 for a while: asked again", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  let times = 0;
  comfy.faults.status = (path) => (path.startsWith("/history") && ++times < 4 ? 500 : undefined);
  answerOf(await client.run({ workflow: workflow() }));
  assert.equal(times, 4);
});

async function cancelWhile(comfy: ComfyDouble, input: Readonly<Record<string, unknown>>, when: () => Promise<unknown>, letGoMs = 10_000): Promise<string> {
  await using client = connect(comfy.url, { options: { letGoMs } });
  const cancel = new AbortController();
  const running = client.run(input, { signal: cancel.signal });
  await when();
  cancel.abort();
  const result = await running;
  return result.type === "cancelled" ? `cancelled ${result.remedy ?? ""}` : say(result);
}

test("cancel while it runs: interrupted by its id, the queue is empty afterwards", async () => {
  await using comfy = await startComfyDouble();
  assert.equal(await cancelWhile(comfy, holding(), () => comfy.untilHolding()), "cancelled ");
  assert.equal(comfy.worker.remaining, 0);
});

test("cancel while it waits: deleted, and what runs is left alone", async () => {
  await using comfy = await startComfyDouble();
  await using other = connect(comfy.url);
  const first = other.run(holding());
  await comfy.untilHolding();
  assert.equal(await cancelWhile(comfy, { workflow: workflow(2) }, () => comfy.until("two prompts", () => comfy.worker.pending.length === 1)), "cancelled ");
  assert.deepEqual([comfy.worker.remaining, comfy.count("POST /interrupt")], [1, 0]);
  comfy.worker.release();
  answerOf(await first);
});

test("cancel during a node that hears nothing: the engine is given up after its time", async () => {
  await using comfy = await startComfyDouble();
  assert.equal(await cancelWhile(comfy, holding(true), () => comfy.untilHolding(), 50), "cancelled restart");
  comfy.worker.release();
});

test("a job that takes too long is interrupted and says so", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url, { options: { timeoutMs: 50 } });
  assert.match(say(await client.run(holding())), /^engine\.timeout Cannot run the job: the engine took longer than 50 ms\.$/);
  assert.equal(comfy.worker.remaining, 0);
});

test("settle ends what a former life left, spares its own and a stranger's", async () => {
  await using comfy = await startComfyDouble();
  const former = connect(comfy.url, { slots: 2 });
  void former.run(holding(false, 1));
  await comfy.untilHolding();
  void former.run({ workflow: workflow(2) });
  await comfy.until("two prompts", () => comfy.worker.remaining === 2);
  const stranger = { prompt: workflow(3), prompt_id: randomUUID(), client_id: "somebody" };
  await fetch(`${comfy.url}/prompt`, { method: "POST", body: JSON.stringify(stranger) });
  await using client = connect(comfy.url, { slots: 2 });
  const own = client.run({ workflow: workflow(4) });
  await comfy.until("four prompts", () => comfy.worker.remaining === 4);
  await client.engine.settle({ signal: AbortSignal.timeout(10_000) });
  answerOf(await own);
  await comfy.until("the stranger's end", () => comfy.worker.history.has(stranger.prompt_id));
  assert.equal(comfy.worker.executions.size, 3, "the former life's waiting prompt never ran");
  await former[Symbol.asyncDispose]();
});

test("closing the connection ends its jobs and does not wait for a socket", async () => {
  await using comfy = await startComfyDouble();
  const client = connect(comfy.url);
  const running = client.run(holding());
  await comfy.untilHolding();
  await client.engine.close();
  assert.equal((await running).type, "cancelled");
  await client[Symbol.asyncDispose]();
});

test("a large video goes through without being held", async () => {
  await using comfy = await startComfyDouble();
  await using client = connect(comfy.url);
  const video = (bytes: number) => ({
    workflow: { ...workflow(), "4": { class_type: "SaveVideo", inputs: { image: ["2", 0], filename_prefix: "clip", bytes } } },
  });
  // What the runtime takes for itself, once.
  await client.run(video(60_000_000));
  const before = process.memoryUsage().rss;
  const result = await client.run(video(150_000_000));
  assert.ok(result.type === "done" && result.output.answer.sizeBytes > 200_000_000);
  assert.ok(process.memoryUsage().rss - before < 75_000_000, `${(process.memoryUsage().rss - before) / 1e6} MB`);
});

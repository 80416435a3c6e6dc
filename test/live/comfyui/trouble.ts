// A real ComfyUI behind a proxy that spoils its WebSocket, and two of them of which one is killed.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, test } from "node:test";
import { pause } from "../../../src/util/pause.ts";
import type { Fettle } from "../fettle.ts";
import { isAlive } from "../setting.ts";
import { historyOf, noOp, startWithComfy, textJob, urlsOf } from "./setting.ts";
import { startSocketProxy } from "./socket-proxy.ts";
import { readTarget } from "./target.ts";

const target = readTarget(process.env);
const skipLaunch = target.type === "launch" ? false : "only engines that fettle launches (COMFYUI_DIR) are doubled and killed";
const say = (line: string) => console.log(`  ${line}`);
const started: Fettle[] = [];
let url = "";

after(async () => {
  await Promise.all(started.map((fettle) => fettle.stop()));
  for (const { dir } of started) rmSync(dir, { recursive: true, force: true });
});

async function boot(wish: Parameters<typeof startWithComfy>[1] = {}): Promise<Fettle> {
  const fettle = await startWithComfy(target, wish);
  started.push(fettle);
  await fettle.event("worker.listening");
  return fettle;
}

async function untilDone(fettle: Fettle, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const end = await Promise.race([fettle.event("job.done", ({ job }) => job === id), fettle.event("job.failed", ({ job }) => job === id)]);
    assert.equal(end.type, "job.done", `${id}: ${JSON.stringify(end)}`);
    let status = "IN_PROGRESS";
    // The event comes a moment before its caller is told.
    for (; status === "IN_PROGRESS"; await pause(10)) ({ status } = await fettle.ask("GET", `/status/${id}`));
    assert.equal(status, "COMPLETED");
  }
}

const names = (what: string, count: number) => Array.from({ length: count }, (_, index) => `${what}-${index}`);

test("one real engine behind everything", async () => {
  const fettle = await boot();
  await fettle.event("supervisor.ready");
  [url = ""] = await urlsOf(fettle);
});

for (const mode of ["good", "silent", "refuse"] as const)
  test(`the socket is ${mode === "refuse" ? "refused" : mode}: every job ends right`, async () => {
    await using proxy = await startSocketProxy(url);
    proxy.set(mode);
    const fettle = await boot({ url: proxy.url });
    const before = new Set(await historyOf(url));
    const since = performance.now();
    for (const id of names(mode, 20)) await fettle.ask("POST", "/run", { id, input: { workflow: noOp() } });
    await fettle.ask("POST", "/run", { id: `${mode}-text`, input: textJob({ steps: 8 }) });
    await untilDone(fettle, [...names(mode, 20), `${mode}-text`]);
    say(`21 jobs in ${Math.round(performance.now() - since)} ms`);
    assert.equal((await historyOf(url)).filter((id) => !before.has(id)).length, 21, "each was executed once");
    await fettle.stop();
  });

test("the socket is dropped in the middle, then silent from there on: every job ends right", async () => {
  await using proxy = await startSocketProxy(url);
  const fettle = await boot({ url: proxy.url });
  const ids = names("drop", 6);
  for (const id of ids) await fettle.ask("POST", "/run", { id, input: textJob({ steps: 12 }) });
  for (const id of ids.slice(0, 3)) {
    await fettle.event("job.started", ({ job }) => job === id);
    proxy.drop();
  }
  await fettle.event("job.started", ({ job }) => job === ids[3]);
  proxy.set("silent");
  await untilDone(fettle, ids);
  await fettle.stop();
});

test("two real instances share the jobs evenly; one is killed in mid-job, and none is lost", { skip: skipLaunch }, async () => {
  const fettle = await boot({ copies: 2 });
  await fettle.event("supervisor.ready");
  const engines = (await fettle.snapshot()).engines.map(({ name }) => name);
  assert.equal(engines.length, 2);
  const shares = new Map<string, number>();
  const count = async (ids: readonly string[]) => {
    shares.clear();
    for (const id of ids) {
      const { engine } = await fettle.event("job.done", ({ job }) => job === id);
      shares.set(engine ?? "", (shares.get(engine ?? "") ?? 0) + 1);
    }
    return engines.map((name) => shares.get(name) ?? 0);
  };
  // Both have loaded the model: what follows measures the sharing.
  const warm = names("warm", 4);
  for (const id of warm) await fettle.ask("POST", "/run", { id, input: textJob() });
  await untilDone(fettle, warm);
  const even = names("even", 40);
  for (const id of even) await fettle.ask("POST", "/run", { id, input: textJob({ steps: 2 }) });
  await untilDone(fettle, even);
  const [first = 0, second = 0] = await count(even);
  say(`shares of 40 jobs: ${first} and ${second}`);
  assert.ok(Math.abs(first - second) <= 8, `${first} and ${second}`);

  const ids = names("kill", 12);
  const since = fettle.now();
  const victim = engines[0] ?? "";
  const pid = await fettle.servicePid(victim);
  for (const id of ids) await fettle.ask("POST", "/run", { id, input: textJob({ steps: 20 }) });
  await fettle.event("job.started", ({ engine }) => engine === victim, since);
  process.kill(pid, "SIGKILL");
  const { job, cause } = await fettle.event("job.retried", () => true, since);
  await untilDone(fettle, ids);
  assert.ok(!isAlive(pid));
  say(`killed ${victim} under ${job} (${cause}); all ${ids.length} done: ${(await count(ids)).join(" and ")}`);
  await fettle.event("service.ready", ({ service }) => service === victim, since);
});

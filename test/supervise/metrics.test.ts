import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Snapshot } from "../../src/control/protocol.ts";
import { EventBus } from "../../src/events/bus.ts";
import type { FettleEvent } from "../../src/events/event.ts";
import type { PlannedEngine } from "../../src/plan/plan.ts";
import { createEngineMetrics } from "../../src/supervise/metrics/engine-metrics.ts";
import { Exposition } from "../../src/supervise/metrics/exposition.ts";
import { createGpuReader, parseGpus } from "../../src/supervise/metrics/gpu-metrics.ts";
import { createMetrics } from "../../src/supervise/metrics/metrics.ts";

const about = { job: "a", source: "http" };
const times = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:02.000Z", "2026-01-01T00:00:03.000Z"];
const life: readonly FettleEvent[] = [
  { type: "job.received", ...about, recovered: false },
  { type: "job.started", ...about, engine: "gpu0", attempt: 1, queueMs: 700 },
  { type: "job.retried", ...about, attempt: 1, cause: "engine.out-of-memory", remedy: "free-memory" },
  { type: "job.started", ...about, engine: "gpu0", attempt: 2, queueMs: 1500 },
  { type: "job.done", ...about, engine: "gpu0", engineMs: 1200, sizeBytes: 10 },
  {
    type: "job.sent",
    ...about,
    status: "COMPLETED",
    totalMs: 3000,
    points: { received: times[0] ?? "", inferenceStart: times[1] ?? "", sent: times[2] ?? "" },
  },
  { type: "job.failed", job: "b", source: "runpod", code: 'odd"code\n', message: "no", engineMs: 0 },
  { type: "job.cached", ...about, outcome: "hit" },
  { type: "job.batched", ...about, engine: "gpu0", size: 2 },
  { type: "source.failed", source: "runpod", message: "x", retryInMs: 1 },
  { type: "webhook.sent", ...about, host: "x", tries: 1 },
  { type: "worker.restarts-engine", engine: "gpu0", cause: "x" },
];
const snapshot = (services: Snapshot["services"]): Snapshot => ({
  seq: 1,
  pid: 1,
  version: "0",
  profile: "test",
  startedAt: "",
  uptimeMs: 1,
  state: "ready",
  services,
  engines: [{ name: "gpu0", kind: "a1111", url: "", ready: true }],
  phases: [{ name: "one", number: 1, title: "", state: "completed", targetMs: 1, usualMs: 1, tookMs: 1 }],
  timeline: [],
  jobs: { received: 1, done: 1, failed: 1 },
});
const engines = [{ name: "gpu0", kind: "a1111", service: "webui" }] as unknown as readonly PlannedEngine[];
const gpu = "0, GPU-1, NVIDIA H200, 37, 1024, 143771, 41, 118.5\nWARNING: something\n1, GPU-2, NVIDIA H200, [N/A], 0, 143771, [N/A], [N/A]\n";

test("A job's life becomes counts and histograms, and every name is in docs/metrics.md", async () => {
  const bus = new EventBus();
  const metrics = createMetrics({ readGpus: createGpuReader(async () => gpu) });
  bus.observe((event) => metrics.apply(event));
  bus.emit({ type: "service.starting", service: "webui", argv: [] });
  bus.emit({ type: "service.ready", service: "webui", afterMs: 1 });
  for (const event of life) bus.emit(event);
  const text = await metrics.format(snapshot([{ name: "webui", role: "engine", state: "ready", restarts: 0, readyAfterMs: 1, pid: process.pid }]), engines);
  for (const line of [
    'fettle_job_seconds_bucket{source="http",status="COMPLETED",le="2.5"} 0',
    'fettle_job_seconds_bucket{source="http",status="COMPLETED",le="5"} 1',
    'fettle_job_seconds_bucket{source="http",status="COMPLETED",le="+Inf"} 1',
    'fettle_job_seconds_sum{source="http",status="COMPLETED"} 3',
    'fettle_job_engine_seconds_sum{source="http",status="COMPLETED",engine="gpu0"} 1.2',
    'fettle_job_queue_seconds_sum{source="http"} 0.7',
    'fettle_job_point_seconds_sum{point="inferenceStart"} 2',
    'fettle_jobs_total{source="http",status="COMPLETED"} 1',
    'fettle_jobs_total{source="runpod",status="FAILED",code="odd\\"code\\n"} 1',
    'fettle_job_retries_total{source="http",cause="engine.out-of-memory",remedy="free-memory"} 1',
    'fettle_gpu_utilization_ratio{gpu="0",uuid="GPU-1",name="NVIDIA H200"} 0.37',
    'fettle_gpu_memory_used_bytes{gpu="0",uuid="GPU-1",name="NVIDIA H200"} 1073741824',
  ])
    assert.ok(text.split("\n").includes(line), `${line}\nis not in\n${text}`);
  assert.ok(Number(/fettle_service_rss_bytes\{service="webui",role="engine"\} (\d+)/.exec(text)?.[1]) > 1_000_000);
  const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = ""]) => name);
  const documented = readFileSync(fileURLToPath(new URL("../../docs/metrics.md", import.meta.url)), "utf8");
  assert.deepEqual(
    names.filter((name) => !documented.includes(`\`${name}\``)),
    [],
  );
  assert.equal(new Set(names).size, names.length);
});

test("An engine's availability is its ready time, with a service by its events, without one by the worker's word", () => {
  let now = 0;
  const metrics = createEngineMetrics(() => now);
  const at = (atMs: number, event: FettleEvent) => metrics.apply({ ...event, seq: 1, time: "", atMs });
  at(0, { type: "service.starting", service: "webui", argv: [] });
  at(1000, { type: "service.ready", service: "webui", afterMs: 1 });
  at(4000, { type: "service.exited", service: "webui", ending: { code: 1, signal: null }, wanted: false, lastLines: [] });
  at(0, { type: "worker.engine", engine: "far", ready: true });
  at(2000, { type: "worker.started", pid: 1, sources: [] });
  now = 10_000;
  const out = new Exposition();
  metrics.write(out, [...engines, { name: "far", kind: "a1111" } as unknown as PlannedEngine]);
  assert.match(String(out), /fettle_engine_availability_ratio\{engine="gpu0",kind="a1111"\} 0\.3\n/);
  assert.match(String(out), /fettle_engine_ready_seconds_total\{engine="far",kind="a1111"\} 2\n/);
});

test("nvidia-smi is asked once for several scrapes, and what it does not know is left out", async () => {
  let asked = 0;
  const read = createGpuReader(async () => {
    asked += 1;
    return gpu;
  });
  const [first] = await Promise.all([read(), read(), read()]);
  assert.equal(asked, 1);
  assert.deepEqual([first.length, first[1]?.values["utilization.gpu"], first[0]?.values["power.draw"]], [2, undefined, 118.5]);
  assert.deepEqual(parseGpus("NVIDIA-SMI has failed because it could not communicate with the driver."), []);
  const absent = createGpuReader(async () => undefined);
  assert.deepEqual(await absent(), []);
});

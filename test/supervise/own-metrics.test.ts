import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { PlannedEngine } from "../../src/plan/plan.ts";
import { Exposition } from "../../src/supervise/metrics/exposition.ts";
import { readOwnMetrics, writeOwnMetrics } from "../../src/supervise/metrics/own-metrics.ts";

const good = { name: "fettle_lora_loads_total", type: "counter", help: "LoRAs.", samples: [[{ outcome: "loaded" }, 3]] };

async function serve(answer: string) {
  const server = createServer((_request, response) => response.end(answer));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, [Symbol.dispose]: () => void server.close() };
}

const engine = (name: string, url: string, more: object = {}): PlannedEngine =>
  ({ name, kind: "diffusers", url, service: name, ...more }) as unknown as PlannedEngine;

async function textOf(...engines: PlannedEngine[]): Promise<string> {
  const out = new Exposition();
  writeOwnMetrics(out, await readOwnMetrics(engines));
  return String(out);
}

test("the counts of two engines stand in one family; who is not ours, is gone or says nonsense is left out", async () => {
  using one = await serve(JSON.stringify({ metrics: [good, { ...good, name: 'x"y' }, { ...good, samples: [[{ 'a"': "b" }, 1]] }, null] }));
  using other = await serve(JSON.stringify({ metrics: [{ ...good, samples: [[{ outcome: 'fai"led' }, 1]] }] }));
  using page = await serve("<html>");
  const gone = "http://127.0.0.1:9";
  const foreign = engine("far", one.url, { service: undefined });
  const text = await textOf(engine("gpu0", one.url), engine("gpu1", other.url), engine("page", page.url), engine("gone", gone), foreign);
  assert.equal(
    text,
    [
      "# HELP fettle_lora_loads_total LoRAs.",
      "# TYPE fettle_lora_loads_total counter",
      'fettle_lora_loads_total{engine="gpu0",outcome="loaded"} 3',
      'fettle_lora_loads_total{engine="gpu1",outcome="fai\\"led"} 1',
      "",
    ].join("\n"),
  );
});

import type { PlannedEngine } from "../../plan/plan.ts";
import type { Exposition, Sample } from "./exposition.ts";

/** An engine under load answers late; a scrape must not wait for it. */
const askMs = 1000;
const mostBytes = 1_000_000;

interface Family {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** What the bundled engines count themselves (see docs/templates.md), with the engine's name as a label; one that does not answer is left out. */
export async function readOwnMetrics(engines: readonly PlannedEngine[]): Promise<readonly Family[]> {
  const asked = engines.filter(({ kind, service }) => kind === "diffusers" && service !== undefined);
  const answers = await Promise.all(asked.map(async (engine) => ({ engine, families: await ask(engine).catch(() => []) })));
  const all = new Map<string, { family: Family; samples: Sample[] }>();
  for (const { engine, families } of answers) {
    for (const family of families) {
      const one = all.get(family.name) ?? { family, samples: [] };
      all.set(family.name, one);
      for (const [labels, value] of family.samples) one.samples.push([{ engine: engine.name, ...labels }, value]);
    }
  }
  return [...all.values()].map(({ family, samples }) => ({ ...family, samples }));
}

export function writeOwnMetrics(out: Exposition, families: readonly Family[]): void {
  for (const { name, type, help, samples } of families) out.family(name, type, help, samples);
}

async function ask({ url }: PlannedEngine): Promise<readonly Family[]> {
  const response = await fetch(`${url}/internal/metrics`, { signal: AbortSignal.timeout(askMs), redirect: "error" });
  const text = response.ok ? await response.text() : "";
  if (text.length > mostBytes) return [];
  const { metrics } = JSON.parse(text) as { metrics?: unknown };
  return Array.isArray(metrics) ? metrics.filter(isFamily) : [];
}

/** Whatever listens there: only lines that Prometheus reads get into the text. */
function isFamily(value: unknown): value is Family {
  const { name, type, help, samples } = (value ?? {}) as Record<string, unknown>;
  const isNamed = typeof name === "string" && /^fettle_[a-z0-9_]+$/.test(name) && typeof help === "string" && (type === "gauge" || type === "counter");
  return isNamed && Array.isArray(samples) && samples.every(isSample);
}

function isSample(value: unknown): value is Sample {
  if (!Array.isArray(value) || typeof value[1] !== "number" || !Number.isFinite(value[1])) return false;
  const labels: unknown = value[0];
  if (typeof labels !== "object" || labels === null) return false;
  return Object.entries(labels).every(([name, one]) => /^[a-z_]+$/.test(name) && typeof one === "string");
}

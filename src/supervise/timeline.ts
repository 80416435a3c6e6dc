import type { TimelineStage } from "../control/protocol.ts";
import type { StampedEvent } from "../events/event.ts";
import type { Expectation, Plan } from "../plan/plan.ts";

/** An observer: how long each stage of the boot took, from the first moment of the process to the first result. */
export interface Timeline {
  apply(event: StampedEvent): void;
  readonly stages: readonly TimelineStage[];
}

type Kept = { -readonly [key in keyof TimelineStage]: TimelineStage[key] };

export function createTimeline(current: () => Plan): Timeline {
  const stages: Kept[] = [];
  const open = new Map<string, Kept>();
  const begin = (stage: string, startedMs: number, expect?: Expectation) => {
    const kept: Kept = { stage, startedMs, ...(expect && { expect }) };
    stages.push(kept);
    open.set(stage, kept);
  };
  const end = (stage: string, atMs: number) => {
    const kept = open.get(stage);
    if (kept) kept.endedMs = atMs;
    open.delete(stage);
  };
  let booting = true;
  return {
    stages,
    apply(event) {
      if (event.type === "supervisor.started") begin("set-up", event.processStartedMs, current().expectSetup);
      if (event.type === "service.spawned") {
        end("set-up", event.atMs);
        const service = current().services.find(({ name }) => name === event.service);
        // Only the boot: what starts again later is no stage of it.
        if (booting && service && !stages.some(({ stage }) => stage === stageOf(service))) begin(stageOf(service), event.atMs, service.expect);
      }
      if (event.type === "service.listening") {
        const kept = open.get(`${event.service} ready`);
        if (kept) kept.listeningMs = event.atMs;
      }
      if (event.type === "phase.started") begin(phaseStage(event), event.atMs, event.targetMs === undefined ? undefined : { maxMs: event.targetMs });
      if (event.type === "phase.completed" || event.type === "phase.failed") {
        const kept = open.get(phaseStage(event));
        if (kept && event.type === "phase.completed" && event.usualMs !== undefined) kept.usualMs = event.usualMs;
        if (kept) kept.endedMs = kept.startedMs + event.afterMs;
        open.delete(phaseStage(event));
      }
      if (event.type === "service.ready" || (event.type === "service.exited" && event.ending.code === 0)) {
        const service = current().services.find(({ name }) => name === event.service);
        if (service) end(stageOf(service), event.atMs);
      }
      if (event.type === "supervisor.ready") {
        booting = false;
        end("set-up", event.atMs);
      }
      if (event.type === "job.received" && !stages.some(({ stage }) => stage === "first job")) begin("first job", event.atMs);
      if (event.type === "job.done") end("first job", event.atMs);
    },
  };
}

const phaseStage = ({ number, phase }: { readonly number: number; readonly phase: string }): string => `phase ${number} ${phase}`;
const stageOf = ({ name, role }: { readonly name: string; readonly role: string }): string => (role === "task" ? `${name} done` : `${name} ready`);

/** The table printed once when all is ready: stage, took, expected, and the moment since the process began. */
export function formatTimeline(stages: readonly TimelineStage[]): string[] {
  const done = stages.filter((stage): stage is TimelineStage & { endedMs: number } => stage.endedMs !== undefined);
  const origin = done[0]?.startedMs ?? 0;
  const rows = done.map(({ stage, startedMs, endedMs, expect, listeningMs, usualMs }) => [
    stage,
    seconds(endedMs - startedMs),
    expect ? formatExpectation(expect) : "",
    [
      `at ${seconds(endedMs - origin)}`,
      ...(usualMs === undefined ? [] : [`usually ${seconds(usualMs)} here`]),
      ...(listeningMs === undefined ? [] : [`listening at ${seconds(listeningMs - origin)}`]),
    ].join(", "),
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map(([stage = "", took = "", expected = "", at = ""]) =>
    `${stage.padEnd(widths[0] ?? 0)}  ${took.padStart(widths[1] ?? 0)}  ${expected.padEnd(widths[2] ?? 0)}  ${at}`.trimEnd(),
  );
}

/** "(expected < 1 s)", "(expected 30–60 s)". */
export function formatExpectation({ minMs, maxMs }: { readonly minMs?: number; readonly maxMs: number }): string {
  const text = (ms: number) => String(Number((ms / 1000).toFixed(2)));
  return minMs === undefined ? `(expected < ${text(maxMs)} s)` : `(expected ${text(minMs)}–${text(maxMs)} s)`;
}

const seconds = (ms: number): string => (ms < 1000 ? `${(ms / 1000).toFixed(2)} s` : `${(ms / 1000).toFixed(1)} s`);

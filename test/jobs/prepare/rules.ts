/** How these tests prepare jobs: as the config's defaults have it, with engines of the kinds named. */
import assert from "node:assert/strict";
import { createPreparer, type PrepareConfig } from "../../../src/jobs/prepare/create-prepare.ts";
import type { EngineRequest } from "../../../src/jobs/prepare/prepare.ts";

export const usualInputs: PrepareConfig["inputs"] = {
  urls: true,
  maxBytes: 1_000_000,
  maxFiles: 16,
  maxPixels: 67_108_864,
  timeout: 20_000,
  allowPrivate: false,
  allowHosts: [],
};
export const usualRules: PrepareConfig = {
  dialect: "auto",
  unknownKeys: "warn",
  allowCalls: [],
  allowPaths: false,
  jobBuckets: "public",
  maxInput: 100_000_000,
  inputs: usualInputs,
};

export interface Wish extends Partial<PrepareConfig> {
  readonly kind?: string;
  readonly kinds?: readonly string[];
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
}

export function jobOf(input: unknown, extra: Readonly<Record<string, unknown>> = {}) {
  return { id: "1", source: "test", receivedAt: 0, input, extra };
}

export async function prepare(input: unknown, { kind = "a1111", kinds = [kind], extra, signal = new AbortController().signal, ...config }: Wish = {}) {
  const preparer = createPreparer({ ...usualRules, ...config }, kinds);
  const prepared = await preparer.prepare(jobOf(input, extra), { signal });
  const request = prepared.type === "prepared" ? prepared.forEngine(kind) : prepared;
  return { prepared, request, options: prepared.type === "prepared" ? prepared.options : undefined };
}

/** The request for an engine of that kind; fails the test when there is none. */
export async function requestOf(input: unknown, wish: Wish = {}): Promise<EngineRequest> {
  const { request } = await prepare(input, wish);
  assert.ok(request.type === "request", request.type === "invalid" ? request.failure.message : "");
  return request;
}

/** `PATH: the rest of the sentence`; fails the test when the job is fine. */
export async function faultOf(input: unknown, wish: Wish = {}): Promise<string> {
  const { request } = await prepare(input, wish);
  assert.ok(request.type === "invalid", `${JSON.stringify(input).slice(0, 200)} was accepted`);
  const { failure } = request;
  assert.match(failure.message, /^Cannot run the job: .*\.$/);
  assert.ok(failure.path === undefined || failure.message.includes(failure.path), failure.message);
  return failure.message.slice("Cannot run the job: ".length);
}

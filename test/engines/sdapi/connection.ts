/** What the connector's tests share: a connection with quick retries, and the /progress answers of an engine. */
import type { AttemptResult, ConnectOptions, Engine } from "../../../src/engines/engine.ts";
import { connectSdapi, type SdapiKind, type SdapiPace } from "../../../src/engines/sdapi/connect.ts";
import { createAnswerReader } from "../../../src/results/answer-reader.ts";

export interface Wish {
  readonly kind?: SdapiKind;
  readonly options?: Partial<ConnectOptions>;
  readonly pace?: Partial<SdapiPace>;
  readonly slots?: number;
}

export function connect(url: string, { kind = "a1111", options = {}, pace = {}, slots = 1 }: Wish = {}): Engine {
  const readAnswer: ConnectOptions["readAnswer"] = (attempt) => createAnswerReader(attempt, { blackImages: "fail" });
  return connectSdapi(kind, pace)({ name: "engine", url, slots }, { timeoutMs: 60_000, retry: { tries: 3, backoffMs: 1 }, readAnswer, ...options });
}

/** `done`, `cancelled` or the code and message of a failure, for one assertion. */
export function say(result: AttemptResult): string {
  return result.type === "failed" ? `${result.code} ${result.retryable ? "retryable " : ""}${result.message}` : result.type;
}

export const idle = { progress: 0, eta_relative: 0, state: { job_count: 0, sampling_step: 4, sampling_steps: 4, interrupted: true } };
export const busy = { progress: 0.5, eta_relative: 1.5, state: { job_count: 1, sampling_step: 2, sampling_steps: 4 } };

import { z } from "zod";
import { expectation } from "./services.ts";
import { duration, flag, integer, port, sizeBytes, text, word } from "./scalars.ts";

const takeWhen = (usual: "ready" | "always") =>
  z.enum(["ready", "always"]).default(usual).meta({ description: "Take jobs only while an engine is ready, or always and let them wait." });

/** RunPod serverless: the queue protocol of job-take, job-done and ping. Addresses and key come from the platform's environment. */
export const runpodSource = z.strictObject({
  enabled: z
    .union([flag, z.literal("auto")], { error: "expected true, false or auto" })
    .default("auto")
    .meta({ description: "auto: on when takeUrl has a value." }),
  announce: text.optional().meta({ description: "A line printed as it stands when the worker starts with this source." }),
  expect: expectation.optional(),
  takeUrl: text.default("").meta({ description: "RUNPOD_WEBHOOK_GET_JOB" }),
  doneUrl: text.default("").meta({ description: "RUNPOD_WEBHOOK_POST_OUTPUT" }),
  pingUrl: text.default("").meta({ description: "RUNPOD_WEBHOOK_PING" }),
  apiKey: text.default("").meta({ description: "RUNPOD_AI_API_KEY, sent raw as Authorization." }),
  podId: text.default("").meta({ description: "RUNPOD_POD_ID" }),
  gpuTypeId: text.default("").meta({ description: "RUNPOD_GPU_TYPE_ID" }),
  endpointId: text.default("").meta({ description: "RUNPOD_ENDPOINT_ID" }),
  pingInterval: z
    .union([z.string().regex(/^\d+$/).transform(Number), duration], { error: "expected a duration such as 10s, or milliseconds in quotes" })
    .default(10_000)
    .meta({ description: "RUNPOD_PING_INTERVAL (a bare number is ms)." }),
  concurrency: integer(1, 64).default(1).meta({ description: "Jobs taken at once." }),
  takeWhen: takeWhen("ready"),
});

/** RunPod's endpoint shapes (/run, /runsync, /status, /health) on a local port. */
export const httpSource = z.strictObject({
  enabled: flag.default(true).meta({ description: "false: no job API." }),
  listen: word.default("127.0.0.1").meta({ description: "The address it listens on; 0.0.0.0 opens it to other machines, then set apiKey." }),
  port: port.default(8000).meta({ description: "The TCP port of the job API; 0 lets the system choose." }),
  apiKey: text.default("").meta({ description: "When set, callers must send it as a Bearer token." }),
  maxBody: sizeBytes.default(100_000_000).meta({ description: "The largest request body." }),
  maxQueue: integer(1, 1_000_000).default(1000).meta({ description: "Waiting jobs; more are refused with 429." }),
  concurrency: integer(1, 64).default(1).meta({ description: "Jobs taken at once." }),
  takeWhen: takeWhen("always"),
});

/** One job from a JSON file (`test_input.json`), its result printed or written; then this source has ended. */
export const fileSource = z.strictObject({
  enabled: flag.default(false).meta({ description: "true: run the job of this file." }),
  path: word.default("test_input.json").meta({ description: 'The job, as RunPod writes it: { "input": { … } }.' }),
  exitWhenDone: flag.default(true).meta({ description: "End fettle after the job; exit code 0 when it succeeded, else 1." }),
});

export const sources = z
  .strictObject({
    runpod: runpodSource.optional().meta({ description: "Jobs from RunPod serverless." }),
    http: httpSource.optional().meta({ description: "Jobs over HTTP, in RunPod's endpoint shapes." }),
    file: fileSource.optional().meta({ description: "One job from a JSON file." }),
  })
  .prefault({})
  .meta({ description: "Where jobs come from; a source that is not written is off." });

export type RunpodSourceConfig = z.output<typeof runpodSource>;
export type HttpSourceConfig = z.output<typeof httpSource>;
export type FileSourceConfig = z.output<typeof fileSource>;

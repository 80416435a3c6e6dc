import { z } from "zod";
import { expectation } from "./services.ts";
import { decimal, duration, flag, host, hostText, integer, port, sizeBytes, text, word } from "./scalars.ts";

const takeWhen = (usual: "ready" | "always") =>
  z.enum(["ready", "always"]).default(usual).meta({ description: "Take jobs only while an engine is ready, or always and let them wait." });

/** RunPod writes `true` in any case; everything else is no. */
const runpodFlag = z.union([z.boolean(), z.string().transform((said) => ["true", "1", "yes"].includes(said.trim().toLowerCase()))], {
  error: "expected true or false",
});

/** What a machine must have before it asks RunPod for a job, by the SDK's own thresholds. */
export const runpodFitness = z.strictObject({
  enabled: flag.default(true).meta({ description: "false: jobs are taken on any machine." }),
  skipSystem: runpodFlag.default(false).meta({ description: "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: memory, disk, CUDA and network are not looked at." }),
  skipGpu: runpodFlag.default(false).meta({ description: "RUNPOD_SKIP_GPU_CHECK: the GPU is not asked." }),
  minMemoryGb: decimal(0, 10_000).default(4).meta({ description: "RUNPOD_MIN_MEMORY_GB, in GiB that are available now." }),
  minDiskPercent: decimal(0, 100).default(10).meta({ description: "RUNPOD_MIN_DISK_PERCENT of / that are free." }),
  minCuda: z
    .union([z.number().transform(String), z.string()])
    .pipe(z.string().regex(/^\d+(\.\d+)?$/, "expected a version such as 11.8"))
    .default("11.8")
    .meta({ description: "RUNPOD_MIN_CUDA_VERSION that the driver must allow." }),
  network: flag
    .default(false)
    .meta({ description: "true: 8.8.8.8:53 must be reachable, as the SDK demands; nothing outside the machine is contacted otherwise." }),
  networkTimeoutSeconds: decimal(0.1, 600).default(5).meta({ description: "RUNPOD_NETWORK_CHECK_TIMEOUT" }),
});

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
  streamUrl: text.default("").meta({ description: "RUNPOD_WEBHOOK_POST_STREAM; empty: pieces of an output are not sent before its end." }),
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
  pollTimeout: duration.default(95_000).meta({ description: "A request for jobs is made anew after this long; RunPod ends its own before." }),
  answerTimeout: duration
    .default(30_000)
    .meta({ description: "A posted result whose answer takes longer is posted again; large ones get more time by their size." }),
  maxResult: sizeBytes
    .optional()
    .meta({ description: "The largest result; a larger one is made smaller or becomes an error. By default 10 MB, and 20 MB for /runsync." }),
  progressInterval: duration.default(2000).meta({ description: "Progress is posted this often while a job runs; 0: never." }),
  refreshWorker: flag.default(false).meta({ description: "One job per worker: the container ends after its result, and RunPod starts a fresh one." }),
  fitness: runpodFitness.prefault({}).meta({ description: "What the machine must have before the first job." }),
});

/** Where a job's result is sent when it has ended. */
export const webhook = z
  .strictObject({
    url: text.default("").meta({ description: "Every job's result is sent there, unless the job names a webhook itself." }),
    secret: text
      .default("")
      .meta({ description: "Signs what is sent, by the Standard Webhooks scheme: whsec_ and base64, or any text. Empty: nothing is signed." }),
    retryFor: duration.default(86_400_000).meta({ description: "A webhook that cannot be delivered is tried again for so long." }),
    timeout: duration.default(30_000).meta({ description: "One try may take this long." }),
    perHost: integer(1, 64).default(2).meta({ description: "Tries to one host at once." }),
    allowPrivate: flag.default(false).meta({ description: "true: addresses of private networks and of this machine are allowed too." }),
    allowHosts: z.array(word).default([]).meta({ description: "Hosts that may have private addresses: names, addresses, *.example.com." }),
  })
  .prefault({})
  .meta({ description: "Webhooks: a job's result, sent as /status shows it." });

/** RunPod's endpoint shapes (/run, /runsync, /status, /stream, /health …) on a local port. */
export const httpSource = z.strictObject({
  enabled: flag.default(true).meta({ description: "false: no job API." }),
  listen: z
    .union([z.literal(""), host], { error: hostText })
    .default("127.0.0.1")
    .transform((address) => address || "127.0.0.1")
    .meta({ description: "The address it listens on; 0.0.0.0 opens it to other machines, then set apiKey. Empty: 127.0.0.1." }),
  port: port.default(8000).meta({ description: "The TCP port of the job API; 0 lets the system choose." }),
  healthPort: z
    .union([z.literal(""), port], { error: "expected a port, or empty text" })
    .default("")
    .meta({ description: "PORT_HEALTH: /ping alone, on a port of its own as well. Empty: only beside the other routes." }),
  apiKey: text.default("").meta({ description: "When set, callers must send it as a Bearer token." }),
  allowUnauthenticated: flag.default(false).meta({
    description: "true: may be open to other machines without apiKey, because something in front of it asks for a key.",
  }),
  allowOrigins: z.array(word).default([]).meta({ description: 'Web pages that may call, such as https://app.example.com; "*" is every page. Default: none.' }),
  allowHosts: z
    .array(word)
    .default([])
    .meta({ description: "Names in the Host header that are taken besides the loopback's own, for a proxy in front of it (only without apiKey)." }),
  maxBody: sizeBytes.default(100_000_000).meta({ description: "The largest request body." }),
  maxQueue: integer(1, 1_000_000).default(1000).meta({ description: "Waiting jobs; more are refused with 503 and Retry-After." }),
  concurrency: integer(1, 64).default(1).meta({ description: "Jobs taken at once." }),
  takeWhen: takeWhen("always"),
  webhook,
});

/** One job from a JSON file (`test_input.json`), its result printed or written; then this source has ended. */
export const fileSource = z.strictObject({
  enabled: flag.default(false).meta({ description: "true: run the job of this file." }),
  path: word.default("test_input.json").meta({ description: 'The job, as RunPod writes it: { "input": { … } }.' }),
  watch: z
    .array(word)
    .default([])
    .meta({ description: "With exitWhenDone: false: run the job again after a change of its file, of these files, or of a Python file in these folders." }),
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

export type RunpodFitnessConfig = z.output<typeof runpodFitness>;
export type RunpodSourceConfig = z.output<typeof runpodSource>;
export type HttpSourceConfig = z.output<typeof httpSource>;
export type FileSourceConfig = z.output<typeof fileSource>;

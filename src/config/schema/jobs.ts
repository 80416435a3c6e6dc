import { z } from "zod";
import { jobReading } from "./job-inputs.ts";
import { duration, flag, integer, sizeBytes } from "./scalars.ts";

export const jobs = z
  .strictObject({
    timeout: duration.default(600_000).meta({ description: "One whole request to the engine (seed 003: 600 s)." }),
    retry: z
      .strictObject({
        tries: integer(1, 100).default(10).meta({ description: "Requests in all, the first included." }),
        backoff: duration.default(100).meta({ description: "Doubled after each failed try." }),
      })
      .prefault({})
      .meta({ description: "On 502, 503, 504 and refused connections." }),
    deadline: duration.default(3_600_000).meta({ description: "All attempts of a job together may take this long, from the first one's start. 0: no limit." }),
    stall: duration.default(300_000).meta({ description: "A job without progress for so long is interrupted and its engine restarted. 0: never." }),
    loading: duration.default(600_000).meta({ description: "The same before a job's first step, while the engine may still load a model." }),
    letGo: duration.default(20_000).meta({ description: "After an interrupt the engine may take so long to let go of a job; then it is restarted." }),
    maxInput: sizeBytes.default(100_000_000).meta({ description: "The largest job input." }),
    maxDepth: integer(4, 10_000).default(64).meta({ description: "How deep a job's JSON may nest." }),
    ...jobReading,
    blackImages: z
      .enum(["fail", "retry", "warn", "off"])
      .default("fail")
      .meta({ description: "What an all-black image does to its job; retry: once more with the VAE in float32 (the bundled engine can), then fail." }),
    batching: z
      .strictObject({
        enabled: flag.default(false).meta({ description: "true: gather jobs." }),
        maxSize: integer(2, 64).default(4).meta({ description: "Jobs of one call. The sources' concurrency must let as many in." }),
        maxWait: duration.default(50).meta({ description: "The first of them waits for others at most so long." }),
      })
      .prefault({})
      .meta({ description: "Jobs that differ in prompt, negative prompt and seed alone share one call; only the bundled diffusers engine can." }),
    responseCache: z
      .strictObject({
        enabled: flag.default(false).meta({ description: "true: keep answers." }),
        maxSize: sizeBytes.default(1_000_000_000).meta({ description: "All kept answers together." }),
        maxEntries: integer(1, 1_000_000).default(1000).meta({ description: "So many answers are kept; the oldest go first." }),
      })
      .prefault({})
      .meta({ description: "Identical jobs with a seed are answered from `stateDir` instead of the engine." }),
    keepResults: duration.default(1_800_000).meta({ description: "How long a delivered result can still be asked for." }),
    maxLosses: integer(1, 100).default(3).meta({ description: "So often may a job lose its engine or its worker; then it fails." }),
  })
  .prefault({})
  .meta({ description: "Limits and retries of each job." });

import { z } from "zod";
import { flag, integer, positiveDuration, sizeBytes, word } from "./scalars.ts";

const host = word.regex(/^(?:\*\.)?[^\s/@*]+$/, "expected a host name, an address or *.example.com");

/** What a job may bring and name. Part of `jobs`. */
export const jobInputs = z
  .strictObject({
    urls: flag.default(true).meta({ description: "Whether a job may name its images by URL; fettle fetches them before the job has an engine." }),
    maxBytes: sizeBytes.default(32_000_000).meta({ description: "The largest file fetched; all files of a job together: jobs.maxInput." }),
    maxFiles: integer(0, 1000).default(16).meta({ description: "So many files may one job name." }),
    maxPixels: integer(1, 1_000_000_000).default(67_108_864).meta({ description: "The largest image a job may bring, width times height." }),
    timeout: positiveDuration.default(30_000).meta({ description: "The longest time for one file, redirects included." }),
    allowPrivate: flag
      .default(false)
      .meta({ description: "Whether URLs may lead to addresses that are not public: this machine, its network, a cloud's metadata." }),
    allowHosts: z.array(host).default([]).meta({ description: "Hosts that may have such an address: a name, an address, or *.example.com." }),
  })
  .prefault({})
  .meta({ description: "The images that a job brings or names." });

const call = word.regex(/^(?:GET|POST) \/[A-Za-z0-9/_-]+$/, "expected a method and a path, such as POST /sdapi/v1/options");

/** How a job is read. Part of `jobs`. */
export const jobReading = {
  dialect: z
    .enum(["auto", "engine", "worker-sdxl"])
    .default("auto")
    .meta({ description: "How names are read that several APIs share. worker-sdxl: always that worker's input and answer; engine: never." }),
  unknownKeys: z.enum(["warn", "refuse", "off"]).default("warn").meta({ description: "What becomes of a job's keys that its engine ignores." }),
  allowCalls: z
    .array(call)
    .default([])
    .meta({ description: 'Calls beyond the harmless ones that a job may make through {"api", "payload"}, such as POST /sdapi/v1/options.' }),
  allowPaths: flag.default(false).meta({ description: "Whether a job may name files and folders on the engine's disk. Only where every caller is trusted." }),
  inputs: jobInputs,
};

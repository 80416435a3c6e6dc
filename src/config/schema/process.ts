import { z } from "zod";
import { argv, duration, host, integer, port, sizeBytes, url, word } from "./scalars.ts";

const unlimited = z.literal("unlimited");
const count = z.union([unlimited, integer(0, 2 ** 31 - 1)], { error: "expected a whole number, or unlimited" });
const size = z.union([unlimited, sizeBytes], { error: "expected a size such as 512MiB, or unlimited" });

const limits = z
  .strictObject({
    files: count.optional().meta({ description: "Open files." }),
    processes: count.optional().meta({ description: "Processes of its user." }),
    core: z
      .union([unlimited, z.literal([0, "0"])], { error: "expected 0 or unlimited" })
      .optional()
      .meta({ description: "0: no core dumps." }),
    lockedMemory: size.optional().meta({ description: "Memory that may be locked." }),
    stack: size.optional().meta({ description: "The stack of its main thread." }),
    memory: size.optional().meta({ description: "Address space; CUDA reserves far more of it than it uses." }),
  })
  .optional()
  .meta({ description: "Resource limits of the process, as `ulimit` sets them." });

/** How the process of anything that is launched shall be treated by the system. */
export const processKeys = {
  nice: integer(-20, 19).optional().meta({ description: "Scheduling priority: 19 is the most modest; below 0 needs root." }),
  oomScore: integer(-1000, 1000).optional().meta({ description: "oom_score_adj: 1000 is killed first when memory runs out, -1000 never; below 0 needs root." }),
  limits,
  preload: z
    .array(word)
    .default([])
    .meta({ description: "Libraries for LD_PRELOAD; one that is missing or of another architecture is left out with a warning." }),
};

const timing = {
  period: duration.default(10_000).meta({ description: "The wait between two tries." }),
  failures: integer(1, 1000).default(3).meta({ description: "So many failures in a row, and it is restarted." }),
};

/** The liveness of an engine asks what its readiness asks. */
export const engineLiveness = z
  .strictObject({ ...timing, timeout: duration.default(30_000).meta({ description: "One try may take this long." }) })
  .optional()
  .meta({ description: "Once ready: an engine that does not answer any more is restarted. Unless given, it only counts as not ready." });

const oneKind = "expected exactly one of http, tcp and exec";

export const liveness = z
  .strictObject({
    http: url.optional().meta({ description: "A URL; any 2xx answer counts." }),
    tcp: z
      .strictObject({ host: host.default("127.0.0.1").meta({ description: "The address to connect to." }), port })
      .optional()
      .meta({ description: "A TCP port that accepts a connection." }),
    exec: argv.min(1, { error: "expected a program and its arguments" }).optional().meta({ description: "A command; exit code 0 counts." }),
    ...timing,
    timeout: duration.default(5000).meta({ description: "One try may take this long." }),
  })
  .refine(({ http, tcp, exec }) => [http, tcp, exec].filter((one) => one !== undefined).length === 1, { message: oneKind })
  .optional()
  .meta({ description: "Asked once it has been ready; when it fails too often in a row the service is restarted." });

/** One copy for each of something; the words {index}, {port} and {gpu} are filled in. */
export const replicas = z
  .union([z.literal("gpu"), integer(1, 64)], { error: "expected gpu, or a whole number from 1 to 64" })
  .optional()
  .meta({
    description: "So many copies, NAME-0, NAME-1 …; gpu: one for each GPU, which alone it sees. {index}, {port} and {gpu} are filled in; ports count up.",
  });

export type LivenessConfig = NonNullable<z.output<typeof liveness>>;
export type LimitsConfig = NonNullable<z.output<typeof limits>>;

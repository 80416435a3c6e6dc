import { z } from "zod";
import { argv, duration, integer, port, text } from "./scalars.ts";

/** How to ask whether a service is ready: exactly one of http, tcp, exec, file and logLine, and its timing. */
export const probe = z
  .strictObject({
    http: text.optional().meta({ description: "A URL; any 2xx answer counts." }),
    tcp: z.strictObject({ host: text.default("127.0.0.1"), port }).optional(),
    exec: argv.optional().meta({ description: "A command; exit code 0 counts." }),
    file: text.optional().meta({ description: "A path; its existence counts." }),
    logLine: text.optional().meta({ description: "A regular expression that a line of output matches." }),
    period: duration.default(200),
    timeout: duration.default(5000),
    startup: duration.default(1_800_000).meta({ description: "Not ready after this long is a failure; 0 = no limit." }),
    logEvery: integer(0, 1_000_000).default(15).meta({ description: "A log line every so many failed tries; 0 = never." }),
  })
  .refine((value) => [value.http, value.tcp, value.exec, value.file, value.logLine].filter((one) => one !== undefined).length === 1, {
    message: "expected exactly one of http, tcp, exec, file and logLine",
  });

export type ProbeConfig = z.output<typeof probe>;

import { z } from "zod";
import { argv, duration, integer, port, word } from "./scalars.ts";

const oneKind = "expected exactly one of http, tcp, exec, file and logLine";

/** How to ask whether a service is ready: exactly one of http, tcp, exec, file and logLine, and its timing. */
export const probe = z
  .strictObject({
    http: word.optional().meta({ description: "A URL; any 2xx answer counts." }),
    tcp: z
      .strictObject({ host: word.default("127.0.0.1").meta({ description: "The address to connect to." }), port })
      .optional()
      .meta({ description: "A TCP port that accepts a connection." }),
    exec: argv.min(1, { error: "expected a program and its arguments" }).optional().meta({ description: "A command; exit code 0 counts." }),
    file: word.optional().meta({ description: "A path; its existence counts." }),
    logLine: word
      .refine(isRegExp, { message: "expected a regular expression" })
      .optional()
      .meta({ description: "A regular expression that a line of output matches." }),
    period: duration.default(200).meta({ description: "The wait between two tries." }),
    timeout: duration.default(5000).meta({ description: "One try may take this long." }),
    startup: duration.default(1_800_000).meta({ description: "Not ready after this long is a failure; 0 = no limit." }),
    logEvery: integer(0, 1_000_000).default(15).meta({ description: "A log line every so many failed tries; 0 = never." }),
  })
  .refine((value) => [value.http, value.tcp, value.exec, value.file, value.logLine].filter((one) => one !== undefined).length === 1, { message: oneKind });

function isRegExp(pattern: string): boolean {
  try {
    return Boolean(new RegExp(pattern));
  } catch {
    return false;
  }
}

export type ProbeConfig = z.output<typeof probe>;

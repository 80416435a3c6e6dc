import { z } from "zod";
import { argv, duration, host, integer, port, url, word } from "./scalars.ts";

const oneKind = "expected exactly one of http, tcp, exec, file, logLine and fd";

/** A regular expression for a line of output. */
export const pattern = word
  .refine(isRegExp, { message: "expected a regular expression" })
  .meta({ description: "A regular expression that a line of output matches." });

/** How to ask whether a service is ready: exactly one of http, tcp, exec, file, logLine and fd, and its timing. */
export const probe = z
  .strictObject({
    http: url.optional().meta({ description: "A URL; any 2xx answer counts." }),
    tcp: z
      .strictObject({ host: host.default("127.0.0.1").meta({ description: "The address to connect to." }), port })
      .optional()
      .meta({ description: "A TCP port that accepts a connection." }),
    exec: argv.min(1, { error: "expected a program and its arguments" }).optional().meta({ description: "A command; exit code 0 counts." }),
    file: word.optional().meta({ description: "A path; its existence counts." }),
    logLine: pattern.optional(),
    fd: z
      .literal([3, "3"], { error: "expected 3" })
      .transform((): 3 => 3)
      .optional()
      .meta({ description: "3: the program writes a line to file descriptor 3 when it is ready." }),
    period: duration.default(200).meta({ description: "The wait between two tries." }),
    timeout: duration.default(5000).meta({ description: "One try may take this long." }),
    startup: duration.default(1_800_000).meta({ description: "Not ready after this long is a failure; 0 = no limit." }),
    successes: integer(1, 1000).default(1).meta({ description: "So many passed tries in a row make it ready." }),
    failures: integer(1, 1000).default(3).meta({ description: "Once ready: so many failed tries in a row, and it is not ready any more." }),
    watch: duration.default(10_000).meta({ description: "Once ready: the wait between two tries." }),
    logEvery: integer(0, 1_000_000).default(15).meta({ description: "A log line every so many failed tries; 0 = never." }),
  })
  .refine((value) => [value.http, value.tcp, value.exec, value.file, value.logLine, value.fd].filter((one) => one !== undefined).length === 1, {
    message: oneKind,
  });

function isRegExp(text: string): boolean {
  try {
    return Boolean(new RegExp(text));
  } catch {
    return false;
  }
}

export type ProbeConfig = z.output<typeof probe>;

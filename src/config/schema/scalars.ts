import { isIP } from "node:net";
import { z } from "zod";
import { parseDuration } from "../../util/duration.ts";

// A message that begins with "expected" reaches the user as it stands; see diagnose.ts.

const durationText = "expected a duration with its unit, such as 200ms, 2s or 10m";

/** A duration with its unit (`200ms`, `2s`, `10m`), parsed to milliseconds. `0` needs no unit. */
export const duration = z
  .union([z.string(), z.literal(0)], { error: durationText })
  .transform((value, context) => {
    const ms = value === 0 || value === "0" ? 0 : parseDuration(value);
    // Timers of the runtimes hold 31 bits; 24 days are the longest wait that is one.
    if (ms !== undefined && ms < 2 ** 31) return ms;
    context.addIssue({ code: "custom", message: ms === undefined ? durationText : "expected a duration under 24 days" });
    return z.NEVER;
  })
  .meta({ description: "A duration with its unit: 200ms, 2s, 10m, 1h." });

/** The same where no time at all would make no sense. */
export const positiveDuration = duration.refine((ms) => ms > 0, "expected a duration of at least 1ms");

const flagWords = ["true", "false", "1", "0", "yes", "no", "on", "off", ""] as const;

/** true or false; as text (`yes`, `on`, `1` …) because `${NAME}` always brings text. The empty text is false. */
export const flag = z.union([z.boolean(), z.enum(flagWords).transform((word) => ["true", "1", "yes", "on"].includes(word))], {
  error: "expected true or false",
});

/** A whole number within bounds; digits as text count too, because `${NAME}` always brings text. */
export const integer = (min: number, max: number) => {
  const error = `expected a whole number from ${min} to ${max}`;
  const bounded = z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
  return z
    .union(
      [
        bounded,
        z
          .string()
          .regex(/^-?\d+$/, error)
          .transform(Number),
      ],
      { error },
    )
    .pipe(bounded);
};

/** A number within bounds, from a number or its text. */
export const decimal = (min: number, max: number) => {
  const error = `expected a number from ${min} to ${max}`;
  const bounded = z.number({ error }).min(min, { error }).max(max, { error });
  return z
    .union(
      [
        bounded,
        z
          .string()
          .regex(/^-?\d+(\.\d+)?$/, error)
          .transform(Number),
      ],
      { error },
    )
    .pipe(bounded);
};

export const port = integer(0, 65_535).meta({ description: "A TCP port; 0 lets the system choose a free one." });

const sizeText = "expected a size such as 20MB or 512MiB";
const sizeUnits: Readonly<Record<string, number>> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

/** A size, parsed to bytes: a bare number is bytes. */
export const sizeBytes = z
  .union([z.number().int().min(0), z.string()], { error: sizeText })
  .transform((value, context) => {
    if (typeof value === "number") return value;
    const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?$/i.exec(value.trim());
    const bytes = match ? Math.round(Number(match[1]) * (sizeUnits[(match[2] ?? "B").toLowerCase()] ?? 1)) : Number.NaN;
    if (Number.isSafeInteger(bytes)) return bytes;
    context.addIssue({ code: "custom", message: sizeText });
    return z.NEVER;
  })
  .meta({ description: "A size in bytes, or with a unit: 20MB, 512MiB." });

const textError = { error: "expected text" };

export const text = z.string(textError).max(65_536, { error: "expected at most 65536 characters" });
/** Text that must not be empty: a path, an address, a program. */
export const word = text.min(1, { error: "expected text that is not empty" });

/** {index} and its like, which each copy of an entry gets filled in, stand for a digit. */
const filledIn = (value: string): string => value.replace(/\{[\w+]+\}/g, "1");

export const hostText = "expected a host name or an IP address, such as 127.0.0.1, without a scheme or a port";

/** An address to listen on or connect to: a name, an IPv4 or an IPv6 address; no scheme, no port. */
export const host = text.refine(isHost, { message: hostText });

function isHost(value: string): boolean {
  const filled = filledIn(value);
  if (isIP(filled) !== 0) return true;
  return filled.length <= 253 && !/^[\d.]+$/.test(filled) && filled.split(".").every((label) => /^(?!-)[\w-]{1,63}(?<!-)$/.test(label));
}

/** The address of something that is asked over HTTP. */
export const url = text.refine((value) => /^https?:\/\//i.test(value) && URL.canParse(filledIn(value)), {
  message: "expected a URL that begins with http:// or https://",
});

export const name = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, "expected lower-case letters, digits and dashes, starting with a letter");

const variableName = z.string().regex(/^[^=\s]+$/, "expected a variable's name, without = and spaces");
const variableValue = z
  .union([text, z.number(), z.boolean(), z.null()], { error: "expected text, a number, true or false" })
  .transform((value) => (value === null ? null : String(value)))
  .meta({ description: "Its value, as written; null removes the variable for this program." });

/** Environment variables for a program. */
export const environment = z.record(variableName, variableValue);

/** A program's words. Numbers and true/false stay exactly as written (`1.10`, `007`). */
export const argv = z.array(
  z.union([text, z.number()], { error: "expected text or a number" }).transform(String).meta({ description: "One word; no shell splits it." }),
  { error: "expected a list of words" },
);

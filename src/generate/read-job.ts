// generate/ owns one image without a server: a job from flags or a file, the engine booted for it alone (or an instance
// asked), the images checked and written. Takes: a config and a job. Gives: the files and what the engine said of them.
// Uses the same plan, supervisor, connection and image check as `fettle start`; must not know flags or the terminal.
import { readFileSync } from "node:fs";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { envelopeLimits, isObject, parseEnvelope } from "../jobs/envelope.ts";

export type JobBody = Readonly<Record<string, unknown>>;

/** Reads a job file: RunPod's `{"input": { … }}`, or the bare input. `-` is stdin. */
export function readJobFile(path: string, limits: { readonly maxDepth: number; readonly maxInput: number }): JobBody {
  let text: string;
  try {
    text = readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (error) {
    throw new FettleError("cli.bad-value", `Cannot read the job ${path}: ${reasonOf(error)}.`, { cause: error });
  }
  const envelope = parseEnvelope(wrap(text), envelopeLimits(limits));
  if (envelope.type === "job") return envelope.input;
  const { code, message, hint, path: field } = envelope.fault;
  throw new FettleError(code, message, {
    ...(hint !== undefined && { hint }),
    where: { file: path === "-" ? "stdin" : path, ...(field !== undefined && { path: field }) },
  });
}

/** A bare input gets the envelope that it lacks; what is no JSON object is left for the reader to refuse. */
function wrap(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) && value["input"] === undefined ? `{"input":${text}}` : text;
  } catch {
    return text;
  }
}

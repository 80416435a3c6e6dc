import type { Schema } from "./routes.ts";

const object = (properties: Record<string, Schema>, required: readonly string[] = [], more: Schema = {}): Schema => ({
  type: "object",
  properties,
  ...(required.length > 0 && { required }),
  ...more,
});
const text = (description: string): Schema => ({ type: "string", description });
const number = (description: string): Schema => ({ type: "number", description });
const count = (description: string): Schema => ({ type: "integer", minimum: 0, description });
const id = text("The caller's own id, or one that was made.");
const progress = object(
  { fraction: number("0 to 1."), step: count("The step it is at."), steps: count("All steps."), etaMs: number("Time that is left, as the engine guesses.") },
  ["fraction"],
);

/** What the job API takes and gives. */
export const schemas: Readonly<Record<string, Schema>> = {
  JobRequest: object(
    {
      id: { type: "string", minLength: 1, maxLength: 512, description: "Names the job; without it one is made." },
      input: { description: "What the engine is asked for, such as prompt, steps and seed: an object, or any JSON for a handler of your own." },
      webhook: { type: "string", format: "uri", description: "The result is sent there when the job has ended, signed by the Standard Webhooks scheme." },
    },
    ["input"],
    { additionalProperties: true },
  ),
  Queued: object({ id, status: { type: "string", enum: ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED"] } }, ["id", "status"]),
  Job: object(
    {
      id,
      status: { type: "string", enum: ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED"] },
      delayTime: number("Milliseconds that it waited."),
      executionTime: number("Milliseconds that the engine spent on it."),
      output: { description: "The engine's answer; of a running job, what its handler last reported." },
      error: text("Why it failed: code, reason and hint in one sentence."),
      errorCode: text("The code alone; docs/errors.md lists them."),
      errorPath: text("The field or node that the error is about."),
      retries: count("Executions beyond the first."),
      progress,
      record: { type: "object", description: "What was tried and when, if it was asked for." },
    },
    ["id", "status"],
  ),
  Stream: object(
    {
      status: { type: "string", enum: ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED"] },
      stream: { type: "array", items: object({ output: { description: "One piece." } }, ["output"]) },
      progress,
    },
    ["status", "stream"],
  ),
  Purged: object({ removed: count("Jobs that were cancelled."), status: { type: "string", const: "completed" } }, ["removed", "status"]),
  Health: object(
    {
      jobs: object({
        completed: count("Since the start."),
        failed: count("Since the start, cancelled ones included."),
        inProgress: count("Now."),
        inQueue: count("Now."),
        retried: count("Executions beyond the first."),
      }),
      workers: object({
        idle: count("Ready engines without a job."),
        initializing: count("Engines that are not ready."),
        ready: count("Engines that are ready."),
        running: count("Engines with a job."),
        throttled: count("Always 0."),
        unhealthy: count("Engines that will not become ready without help."),
      }),
    },
    ["jobs", "workers"],
  ),
  Ping: object({ status: { type: "string", enum: ["ready", "dead"] } }, ["status"]),
  Error: object(
    {
      error: text("A sentence: what cannot be done, and why."),
      code: text("A stable code; docs/errors.md lists them."),
      hint: text("What helps."),
      path: text("The field that is wrong."),
    },
    ["error", "code", "hint"],
  ),
};

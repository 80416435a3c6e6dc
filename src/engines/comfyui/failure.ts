import type { AttemptResult } from "../engine.ts";
import { type Fault, readFault } from "../faults.ts";
import type { Workflow } from "./workflow.ts";

export type Failed = Extract<AttemptResult, { type: "failed" }>;

/** What is ComfyUI's own; the texts of torch and CUDA stand in ../faults.ts for all kinds. */
const damaged =
  /SafetensorError|PytorchStreamReader|invalid header|UnpicklingError|header is too large|header too (small|large)|MetadataIncompleteBuffer|incomplete metadata/i;
const damagedRemedy = "the model file is damaged or only partly downloaded, fetch it again";

/** A node threw: `execution_error` of the history or the socket. */
export function executionFailure(fields: Readonly<Record<string, unknown>>): Failed {
  const type = textOf(fields["exception_type"]);
  const said = textOf(fields["exception_message"]).trim();
  const node = textOf(fields["node_id"]);
  const className = textOf(fields["node_type"]);
  const isDamaged = damaged.test(`${type} ${said}`);
  const cause: Fault = (isDamaged ? undefined : readFault(type, said)) ?? { code: "engine.failed", retryable: false };
  const where = node ? `node ${node}${className ? ` (${className})` : ""}` : "the workflow";
  return {
    type: "failed",
    code: cause.code,
    message: `Cannot run the workflow: ${where} failed: ${oneLine(said || type || "no reason was given").replace(/\.$/, "")}${isDamaged ? ` (${damagedRemedy})` : ""}.`,
    retryable: cause.retryable,
    ...(cause.remedy && { remedy: cause.remedy }),
    details: { node, class: className, error: type, traceback: tracebackOf(fields["traceback"]) },
  };
}

/** One thing wrong with a workflow, found here or by the server. */
export interface WorkflowFault {
  readonly node: string;
  readonly class?: string;
  readonly input?: string;
  readonly message: string;
  /** What to do about it, such as the nearest values that exist. */
  readonly hint?: string;
}

/** All mistakes at once, each with its node, input and remedy. */
export function workflowFailure(faults: readonly WorkflowFault[], workflow: Workflow, code: "job.invalid" | "engine.rejected"): Failed {
  const lines = faults.map((fault) => describe(fault, workflow));
  const count = faults.length === 1 ? "" : `${faults.length} mistakes: `;
  return { type: "failed", code, message: `Cannot run the workflow: ${count}${lines.join("; ")}.`, retryable: false, details: { errors: faults } };
}

function describe({ node, class: className, input, message, hint }: WorkflowFault, workflow: Workflow): string {
  const title = workflow[node]?._meta?.title;
  const name = [className ?? workflow[node]?.class_type, title && title !== className ? `"${title}"` : ""].filter(Boolean).join(" ");
  return `node ${node}${name ? ` (${name})` : ""}${input ? `, ${input}` : ""}: ${message.replace(/\.$/, "")}${hint ? ` (${hint})` : ""}`;
}

export function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 1000 ? `${line.slice(0, 1000)}…` : line;
}

/** The last frames say where; the first ones are ComfyUI's own. */
function tracebackOf(lines: unknown): string {
  return Array.isArray(lines) ? lines.map(String).slice(-6).join("").slice(-4000) : "";
}

export function textOf(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

/** The engine is there no more, or does not know the prompt any more: another one can run the job. */
export function lost(reason: string): Failed {
  return { type: "failed", code: "engine.lost", message: `Cannot run the job: the engine lost it (${reason.replace(/\.$/, "")}).`, retryable: true };
}

/** Nothing was queued. */
export function unreachable(reason: string): Failed {
  return {
    type: "failed",
    code: "engine.unreachable",
    message: `Cannot run the job: the engine cannot be asked (${reason.replace(/\.$/, "")}).`,
    retryable: true,
  };
}

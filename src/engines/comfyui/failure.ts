import type { AttemptResult } from "../engine.ts";
import { isRecord, type Workflow } from "./workflow.ts";

export type Failed = Extract<AttemptResult, { type: "failed" }>;

interface Cause {
  readonly code: Failed["code"];
  readonly retryable: boolean;
  readonly remedy?: NonNullable<Failed["remedy"]>;
  readonly hint?: string;
}

/** Texts of torch, ComfyUI and safetensors, the first row that fits; see the table of failures in docs/comfyui.md. */
const causes: readonly (readonly [RegExp, Cause])[] = [
  // torch.OutOfMemoryError, torch.cuda.OutOfMemoryError, torch.AcceleratorError "… out of memory"
  [/OutOfMemoryError|CUDA out of memory|out of memory/i, { code: "engine.out-of-memory", retryable: true, remedy: "free-memory" }],
  [
    /DefaultCPUAllocator|can't allocate memory|Cannot allocate memory|\bMemoryError\b/,
    { code: "engine.out-of-memory", retryable: true, remedy: "free-memory" },
  ],
  [
    /CUDA error|CUBLAS_STATUS|cuDNN error|device-side assert|illegal memory access|unspecified launch failure|AcceleratorError/i,
    { code: "engine.cuda-error", retryable: true, remedy: "restart" },
  ],
  [
    /SafetensorError|PytorchStreamReader|invalid header|UnpicklingError|header is too large|MetadataIncompleteBuffer/i,
    { code: "engine.failed", retryable: false, hint: "The model file is damaged or only partly downloaded; fetch it again." },
  ],
];

/** A node threw: `execution_error` of the history or the socket. */
export function executionFailure(fields: Readonly<Record<string, unknown>>): Failed {
  const type = textOf(fields["exception_type"]);
  const said = textOf(fields["exception_message"]).trim();
  const node = textOf(fields["node_id"]);
  const className = textOf(fields["node_type"]);
  const cause = causes.find(([pattern]) => pattern.test(`${type} ${said}`))?.[1] ?? { code: "engine.failed" as const, retryable: false };
  const where = node ? `node ${node}${className ? ` (${className})` : ""}` : "the workflow";
  return {
    type: "failed",
    code: cause.code,
    message: `Cannot run the workflow: ${where} failed: ${oneLine(said || type || "no reason was given")}.`,
    retryable: cause.retryable,
    ...(cause.remedy && { remedy: cause.remedy }),
    details: { node, class: className, error: type, ...(cause.hint && { hint: cause.hint }), traceback: tracebackOf(fields["traceback"]) },
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

/** POST /prompt refused, or accepted with `node_errors`: the bad outputs would be left out in silence. */
export function refusal(status: number, body: unknown, workflow: Workflow): Failed {
  const faults = isRecord(body) ? nodeFaults(body["node_errors"]) : [];
  if (faults.length > 0) return workflowFailure(faults, workflow, "engine.rejected");
  const error = isRecord(body) ? body["error"] : body;
  const said = isRecord(error) ? [textOf(error["message"]), textOf(error["details"])].filter(Boolean).join(" ") : textOf(error);
  const message = `Cannot run the workflow: ComfyUI answered ${status}${said ? `: ${oneLine(said).replace(/\.$/, "")}` : ""}.`;
  const details = { status, ...(isRecord(error) && { error: error["type"] }) };
  if (status >= 500) return { type: "failed", code: "engine.failed", message, retryable: status === 502 || status === 503 || status === 504, details };
  return { type: "failed", code: "engine.rejected", message, retryable: status === 408 || status === 429, details };
}

function nodeFaults(nodeErrors: unknown): WorkflowFault[] {
  if (!isRecord(nodeErrors)) return [];
  return Object.entries(nodeErrors).flatMap(([node, entry]) => {
    if (!isRecord(entry)) return [];
    const className = textOf(entry["class_type"]);
    const errors = Array.isArray(entry["errors"]) ? entry["errors"].filter(isRecord) : [];
    return errors.map((error) => {
      const more = isRecord(error["extra_info"]) ? error["extra_info"] : {};
      const input = textOf(more["input_name"]);
      const text = [textOf(error["message"]), textOf(error["details"])].filter(Boolean).join(": ");
      return { node, ...(className && { class: className }), ...(input && { input }), message: oneLine(text) || textOf(error["type"]) };
    });
  });
}

function describe({ node, class: className, input, message, hint }: WorkflowFault, workflow: Workflow): string {
  const title = workflow[node]?._meta?.title;
  const name = [className ?? workflow[node]?.class_type, title && title !== className ? `"${title}"` : ""].filter(Boolean).join(" ");
  return `node ${node}${name ? ` (${name})` : ""}${input ? `, ${input}` : ""}: ${message.replace(/\.$/, "")}${hint ? ` (${hint})` : ""}`;
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 1000 ? `${line.slice(0, 1000)}…` : line;
}

/** The last frames say where; the first ones are ComfyUI's own. */
function tracebackOf(lines: unknown): string {
  return Array.isArray(lines) ? lines.map(String).slice(-6).join("").slice(-4000) : "";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

import { type Failed, oneLine, textOf, type WorkflowFault, workflowFailure } from "./failure.ts";
import { nearestChoice } from "./nearest.ts";
import type { NodeInput, ObjectInfo } from "./object-info.ts";
import { remedyOf } from "./preflight.ts";
import { isRecord, type Workflow } from "./workflow.ts";

/** The server's answer to a prompt. */
export interface Verdict {
  readonly status: number;
  readonly body: unknown;
}

/** A 200 with `node_errors` is no acceptance: the outputs that they concern would be left out in silence. */
export function isAccepted({ status, body }: Verdict): boolean {
  return status === 200 && Object.keys(nodeErrorsOf(body)).length === 0;
}

/** The id under which the server keeps it: ours, unless it gives its own. */
export function promptIdOf({ body }: Verdict): string | undefined {
  return isRecord(body) && typeof body["prompt_id"] === "string" ? body["prompt_id"] : undefined;
}

/** Each mistake that ComfyUI names, with what this server has instead, as far as its nodes are known. */
export function refusal({ status, body }: Verdict, workflow: Workflow, info: ObjectInfo): Failed {
  const faults = Object.entries(nodeErrorsOf(body)).flatMap(([node, entry]) => readNode(node, entry, info));
  const error = isRecord(body) ? body["error"] : body;
  const strange = faults.length === 0 && isRecord(error) ? strangeClass(error, workflow) : undefined;
  if (strange) faults.push(strange);
  if (faults.length > 0) return workflowFailure(faults, workflow, "engine.rejected");
  const said = isRecord(error) ? [textOf(error["message"]), textOf(error["details"])].filter(Boolean).join(" ") : textOf(error);
  const message = `Cannot run the workflow: ComfyUI answered ${status}${said ? `: ${oneLine(said).replace(/\.$/, "")}` : ""}.`;
  const details = { status, ...(isRecord(error) && { error: error["type"] }) };
  if (status >= 500) return { type: "failed", code: "engine.failed", message, retryable: status === 502 || status === 503 || status === 504, details };
  return { type: "failed", code: "engine.rejected", message, retryable: status === 408 || status === 429, details };
}

function nodeErrorsOf(body: unknown): Readonly<Record<string, unknown>> {
  return isRecord(body) && isRecord(body["node_errors"]) ? body["node_errors"] : {};
}

function readNode(node: string, entry: unknown, info: ObjectInfo): WorkflowFault[] {
  if (!isRecord(entry)) return [];
  const className = textOf(entry["class_type"]);
  const errors = Array.isArray(entry["errors"]) ? entry["errors"].filter(isRecord) : [];
  return errors.map((error) => {
    const more = isRecord(error["extra_info"]) ? error["extra_info"] : {};
    const input = textOf(more["input_name"]);
    const said = [textOf(error["message"]), textOf(error["details"])].filter(Boolean).join(": ");
    const known = info.get(className)?.inputs.get(input);
    const hint = known && remedy(textOf(error["type"]), known, more["received_value"]);
    return { node, ...(className && { class: className }), ...(input && { input }), message: oneLine(said) || textOf(error["type"]), ...(hint && { hint }) };
  });
}

function remedy(type: string, input: NodeInput, received: unknown): string | undefined {
  if ((type === "value_not_in_list" || type === "custom_validation_failed") && input.options) return nearestChoice(textOf(received), input.options);
  return type === "custom_validation_failed" ? undefined : remedyOf(input);
}

/** `missing_node_type` since 0.33; before, `invalid_prompt` with "Node ID '#6'" in its details. */
function strangeClass(error: Readonly<Record<string, unknown>>, workflow: Workflow): WorkflowFault | undefined {
  const more = isRecord(error["extra_info"]) ? error["extra_info"] : {};
  const node = textOf(more["node_id"]) || (/Node ID '#(.*)'/.exec(textOf(error["details"]))?.[1] ?? "");
  if (!node || !/missing_node_type|invalid_prompt/.test(textOf(error["type"]))) return undefined;
  const className = workflow[node]?.class_type ?? textOf(more["class_type"]);
  return {
    node,
    ...(className && { class: className }),
    message: oneLine(textOf(error["message"])),
    hint: "install the custom node that brings it, or see ComfyUI's log for why it was not loaded",
  };
}

/** A workflow in ComfyUI's API format: node id → class and inputs. A link is `[node id, output index]`. */
export interface WorkflowNode {
  readonly class_type: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly _meta?: { readonly title?: string };
}

export type Workflow = Readonly<Record<string, WorkflowNode>>;

export type Link = readonly [node: string, output: number];

/** `["4", 0]`: another node's output. A number for the node is read too, for ComfyUI to say what it thinks of it. */
export function asLink(value: unknown): Link | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined;
  const [node, output] = value as readonly unknown[];
  if ((typeof node !== "string" && typeof node !== "number") || typeof output !== "number") return undefined;
  return [String(node), output];
}

/** What somebody sent as a workflow. `ui`: as the editor saves it, with `nodes` and `links`. */
export type WorkflowForm = "api" | "ui" | "none";

export function formOf(value: unknown): WorkflowForm {
  if (!isRecord(value)) return "none";
  if (Array.isArray(value["nodes"]) && (Array.isArray(value["links"]) || value["links"] === undefined)) return "ui";
  const nodes = Object.values(value);
  return nodes.length > 0 && nodes.every((node) => isRecord(node) && typeof node["class_type"] === "string") ? "api" : "none";
}

/** Whether a job's input is an API workflow by itself, without `{ "workflow": … }` around it. */
export function isBareWorkflow(input: Readonly<Record<string, unknown>>): boolean {
  return formOf(input) === "api";
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A copy with one input of one node replaced. */
export function withInput(workflow: Workflow, node: string, input: string, value: unknown): Workflow {
  const old = workflow[node];
  return old ? { ...workflow, [node]: { ...old, inputs: { ...old.inputs, [input]: value } } } : workflow;
}

export function classesOf(workflow: Workflow): string[] {
  return [...new Set(Object.values(workflow).map((node) => node.class_type))];
}

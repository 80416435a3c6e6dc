import type { WorkflowFault } from "./failure.ts";
import { examples, nearest, nearestChoice, shorten } from "./nearest.ts";
import type { NodeClass, NodeInput, ObjectInfo } from "./object-info.ts";
import { asLink, type Workflow } from "./workflow.ts";

export interface PreflightOptions {
  /** All names of classes, asked for only when one is strange. */
  readonly names?: readonly string[];
  /** Files that the job brings: they will be there. */
  readonly uploads?: ReadonlySet<string>;
}

/**
 * What the server would refuse, found before it is asked, each with its node, input and the nearest values that exist.
 * Only what is certain: ComfyUI looks at the values of nodes that lead to an output and at no others, and a custom node may
 * have its own idea of what an input takes, as those have that read uploaded files.
 */
export function preflight(workflow: Workflow, info: ObjectInfo, { names = [], uploads = new Set() }: PreflightOptions = {}): WorkflowFault[] {
  const faults: WorkflowFault[] = [];
  const used = reachable(workflow, info);
  for (const [node, { class_type: className, inputs = {} }] of Object.entries(workflow)) {
    const known = info.get(className);
    const fault: Report = (input, message, hint) =>
      void faults.push({ node, class: className, ...(input !== undefined && { input }), message, ...(hint && { hint }) });
    if (!known) {
      fault(undefined, `there is no node class "${shorten(className)}" on this server`, nearest(className, names, "install the custom node that brings it"));
    }
    // Behind a strange class nothing is known of what leads where, so all mistakes are told at once.
    if (used && !used.has(node)) continue;
    for (const [input, value] of Object.entries(inputs)) checkLink(input, value, { workflow, info, fault });
    if (known) checkInputs(known, inputs, { uploads, fault });
  }
  for (const [node, input] of circles(workflow)) {
    faults.push({ node, class: workflow[node]?.class_type ?? "", input, message: "it is linked in a circle", hint: "nothing can come out of it" });
  }
  if (used?.size === 0) faults.push({ node: "-", message: "no node gives an output", hint: "end it with SaveImage or another output node" });
  return faults;
}

/** Links that close a circle, of which ComfyUI says only that validation failed. Without recursion: a workflow may be a long chain. */
function circles(workflow: Workflow): [node: string, input: string][] {
  const found: [string, string][] = [];
  const state = new Map<string, "open" | "closed">();
  for (const start of Object.keys(workflow)) {
    const path = state.has(start) ? [] : [{ node: start, links: linksOf(workflow, start) }];
    if (path.length > 0) state.set(start, "open");
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const [input, from] = top.links.pop() ?? [];
      if (input === undefined || from === undefined) {
        state.set(top.node, "closed");
        path.pop();
      } else if (state.get(from) === "open") found.push([top.node, input]);
      else if (!state.has(from)) {
        state.set(from, "open");
        path.push({ node: from, links: linksOf(workflow, from) });
      }
    }
  }
  return found;
}

function linksOf(workflow: Workflow, node: string): [input: string, from: string][] {
  return Object.entries(workflow[node]?.inputs ?? {}).flatMap(([input, value]): [string, string][] => {
    const from = asLink(value)?.[0];
    return from !== undefined && Object.hasOwn(workflow, from) ? [[input, from]] : [];
  });
}

type Report = (input: string | undefined, message: string, hint?: string) => void;

/** The nodes that lead to an output; undefined when a class is strange, and nobody can say. */
function reachable(workflow: Workflow, info: ObjectInfo): ReadonlySet<string> | undefined {
  const nodes = Object.entries(workflow);
  if (nodes.some(([, { class_type: className }]) => !info.has(className))) return undefined;
  const seen = new Set<string>();
  const next = nodes.filter(([, { class_type: className }]) => info.get(className)?.isOutput).map(([node]) => node);
  for (let node = next.pop(); node !== undefined; node = next.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const value of Object.values(workflow[node]?.inputs ?? {})) {
      const link = asLink(value);
      if (link) next.push(link[0]);
    }
  }
  return seen;
}

function checkLink(input: string, value: unknown, { workflow, info, fault }: { workflow: Workflow; info: ObjectInfo; fault: Report }): void {
  const link = asLink(value);
  if (!link) return;
  const [from, output] = link;
  const source = workflow[from];
  if (!source) return fault(input, `it is linked to node ${shorten(from)}, which does not exist`, nearest(from, Object.keys(workflow), ""));
  const known = info.get(source.class_type);
  const count = known?.outputs.length ?? 0;
  if (known && known.from !== "untold" && output >= count) {
    fault(input, `it is linked to output ${output} of node ${from}`, `${source.class_type} has ${count === 1 ? "only output 0" : `outputs 0 to ${count - 1}`}`);
  }
}

function checkInputs(known: NodeClass, inputs: Readonly<Record<string, unknown>>, { uploads, fault }: { uploads: ReadonlySet<string>; fault: Report }): void {
  for (const input of known.inputs.values()) {
    const value = inputs[input.name];
    if (value === undefined) {
      if (input.required && !("default" in input)) fault(input.name, "it is required and missing", remedyOf(input));
    } else if (known.from === "comfyui" && !input.isUpload && !Array.isArray(value) && !uploads.has(String(value))) {
      const [message, hint] = checkValue(input, value) ?? [];
      if (message) fault(input.name, message, hint);
    }
  }
}

/** What to put into an input. */
export function remedyOf({ type, options, min, max }: NodeInput): string | undefined {
  if (options) return examples(options);
  if (min !== undefined && max !== undefined) return `a number from ${min} to ${max}`;
  if (["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"].includes(type)) return undefined;
  return `link it to a node that gives ${type}`;
}

function checkValue({ type, options, min, max }: NodeInput, value: unknown): readonly [string, string?] | undefined {
  if (type === "COMBO") {
    if (!options || options.includes(value) || options.some((one) => String(one) === String(value))) return undefined;
    return [`there is no "${shorten(String(value))}"`, nearestChoice(String(value), options)];
  }
  if (type === "INT" || type === "FLOAT") {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof number === "boolean") return undefined;
    if (typeof number !== "number" || Number.isNaN(number)) return [`${shorten(JSON.stringify(value) ?? String(value))} is not a number`];
    if (min !== undefined && number < min) return [`${number} is less than ${min}`, `from ${min}${max === undefined ? "" : ` to ${max}`}`];
    if (max !== undefined && number > max) return [`${number} is more than ${max}`, `${min === undefined ? "" : `from ${min} `}to ${max}`];
  }
  return undefined;
}

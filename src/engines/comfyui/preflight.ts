import leven from "leven";
import type { WorkflowFault } from "./failure.ts";
import type { NodeInput, ObjectInfo } from "./object-info.ts";
import { asLink, type Workflow } from "./workflow.ts";

export interface PreflightOptions {
  /** Files that this very job has uploaded: the server's lists may be older. */
  readonly uploads?: ReadonlySet<string>;
}

const mostNamed = 5;

/**
 * What the server would refuse, found before it is asked, each with its node, input and the nearest values that exist.
 * Only what is certain: custom nodes check their inputs themselves, and what they take is theirs to say.
 */
export function preflight(workflow: Workflow, info: ObjectInfo, { uploads = new Set() }: PreflightOptions = {}): WorkflowFault[] {
  const faults: WorkflowFault[] = [];
  let hasOutput = false;
  for (const [node, { class_type: className, inputs }] of Object.entries(workflow)) {
    const known = info.get(className);
    const fault = (input: string | undefined, message: string, hint?: string) =>
      void faults.push({ node, class: className, ...(input !== undefined && { input }), message, ...(hint && { hint }) });
    for (const [input, value] of Object.entries(inputs ?? {})) checkLink(input, value);
    if (!known) {
      fault(undefined, `there is no node class "${className}" on this server`, nearest(className, [...info.keys()], "install the custom node that brings it"));
      continue;
    }
    hasOutput ||= known.isOutput;
    for (const input of known.inputs.values()) {
      const value = inputs?.[input.name];
      if (value === undefined) {
        if (input.required && !("default" in input)) fault(input.name, "it is required and missing");
      } else if (!asLink(value)) {
        const [message, hint] = checkValue(input, value, uploads) ?? [];
        if (message) fault(input.name, message, hint);
      }
    }

    function checkLink(input: string, value: unknown): void {
      const link = asLink(value);
      if (!link) return;
      const [from, output] = link;
      const source = workflow[from];
      if (!source) return fault(input, `it is linked to node ${from}, which does not exist`, nearest(from, Object.keys(workflow), ""));
      const outputs = info.get(source.class_type)?.outputs;
      if (outputs && output >= outputs.length) fault(input, `it is linked to output ${output} of node ${from}, which has ${outputs.length}`);
    }
  }
  if (!hasOutput && faults.length === 0) faults.push({ node: "-", message: "no node gives an output", hint: "end it with SaveImage or another output node" });
  return faults;
}

function checkValue(input: NodeInput, value: unknown, uploads: ReadonlySet<string>): readonly [string, string?] | undefined {
  const { type, options, min, max } = input;
  if (type === "COMBO") {
    if (!options || options.includes(value) || options.map(String).includes(String(value))) return undefined;
    if (typeof value === "string" && (uploads.has(value) || (input.isUpload && /\[(input|output|temp)\]$/.test(value)))) return undefined;
    const known = options.map(String);
    return [`there is no "${shorten(String(value))}"`, known.length === 0 ? "this server has none at all" : nearest(String(value), known, "")];
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

/** `nearest: "a", "b"`; the whole list when it is short. */
function nearest(value: string, known: readonly string[], otherwise: string): string {
  const key = (text: string) => text.toLowerCase().slice(0, 200);
  const sorted = known.map((one) => [leven(key(value), key(one)), one] as const).sort(([a], [b]) => a - b);
  const all = known.length <= mostNamed;
  const close = all ? sorted : sorted.filter(([distance], index) => index < 3 && distance <= Math.max(3, value.length * 0.6));
  const names = close.map(([, one]) => `"${one}"`).join(", ");
  if (!names) return otherwise || `${known.length} others exist`;
  return all ? `there is ${names}` : `nearest: ${names}`;
}

function shorten(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}

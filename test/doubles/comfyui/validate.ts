import type { NodeSpec, Version } from "./nodes.ts";

export interface PromptNode {
  readonly class_type?: string;
  readonly inputs?: Readonly<Record<string, unknown>>;
}
export type Prompt = Readonly<Record<string, PromptNode>>;

export type Validation =
  | { readonly type: "good"; readonly outputs: readonly string[]; readonly nodeErrors: Readonly<Record<string, unknown>> }
  | { readonly type: "bad"; readonly error: Readonly<Record<string, unknown>>; readonly nodeErrors: Readonly<Record<string, unknown>> };

interface NodeError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly extra_info: Readonly<Record<string, unknown>>;
}

/** As POST /prompt judges: only nodes that lead to an output; good outputs run although others are bad. */
export function validate(prompt: Prompt, specs: Readonly<Record<string, NodeSpec>>, version: Version): Validation {
  for (const [id, { class_type: name }] of Object.entries(prompt)) {
    if (name !== undefined && specs[name]) continue;
    const message = `Cannot execute because node ${name} does not exist.`;
    const error =
      version === "0.3.64"
        ? { type: "invalid_prompt", message, details: `Node ID '#${id}'`, extra_info: {} }
        : { type: "missing_node_type", message, details: `Node ID '#${id}'`, extra_info: { node_id: id, class_type: name, node_title: name } };
    return { type: "bad", error, nodeErrors: {} };
  }
  const outputs = Object.keys(prompt).filter((id) => specs[prompt[id]?.class_type ?? ""]?.isOutput);
  if (outputs.length === 0)
    return { type: "bad", error: { type: "prompt_no_outputs", message: "Prompt has no outputs", details: "", extra_info: {} }, nodeErrors: {} };
  const errors = new Map<string, { errors: NodeError[]; dependent_outputs: string[]; class_type: string }>();
  const good = outputs.filter((output) => {
    const bad = [...new Set(reach(output, prompt))].flatMap((id) => {
      const found = check(prompt[id] ?? {}, prompt, specs);
      return found.length > 0 ? [[id, found] as const] : [];
    });
    for (const [id, found] of bad) {
      const entry = errors.get(id) ?? { errors: found, dependent_outputs: [], class_type: prompt[id]?.class_type ?? "" };
      entry.dependent_outputs.push(output);
      errors.set(id, entry);
    }
    return bad.length === 0;
  });
  const nodeErrors = Object.fromEntries(errors);
  if (good.length > 0) return { type: "good", outputs: good, nodeErrors };
  return {
    type: "bad",
    error: { type: "prompt_outputs_failed_validation", message: "Prompt outputs failed validation", details: "", extra_info: {} },
    nodeErrors,
  };
}

export function reach(id: string, prompt: Prompt): string[] {
  const links = Object.values(prompt[id]?.inputs ?? {}).filter((value) => Array.isArray(value)) as unknown[][];
  return [
    ...links
      .map(([from]) => String(from))
      .filter((from) => from in prompt)
      .flatMap((from) => reach(from, prompt)),
    id,
  ];
}

function check({ class_type: name = "", inputs = {} }: PromptNode, prompt: Prompt, specs: Readonly<Record<string, NodeSpec>>): NodeError[] {
  const errors: NodeError[] = [];
  for (const [input, [type, settings = {}]] of Object.entries(specs[name]?.required ?? {})) {
    const value = inputs[input];
    const add = (kind: string, message: string, details: string) =>
      void errors.push({ type: kind, message, details, extra_info: { input_name: input, input_config: null, received_value: value } });
    if (value === undefined) add("required_input_missing", "Required input is missing", input);
    else if (Array.isArray(value)) {
      const given = specs[prompt[String(value[0])]?.class_type ?? ""]?.outputs[Number(value[1])];
      if (given === undefined) add("exception_during_inner_validation", "Exception when validating inner node", `'${value[0]}'`);
      else if (given !== type)
        add("return_type_mismatch", "Return type mismatch between linked nodes", `${input}, received_type(${given}) mismatch input_type(${String(type)})`);
    } else if (Array.isArray(type) && input === "image" && !type.includes(value))
      add("custom_validation_failed", "Custom validation failed for node", `image - Invalid image file: ${value}`);
    else if (Array.isArray(type) && name !== "OwnChoice" && !type.includes(value))
      add("value_not_in_list", "Value not in list", `${input}: '${value}' not in ${JSON.stringify(type)}`);
    else if (typeof value === "number" && typeof settings["min"] === "number" && value < settings["min"])
      add("value_smaller_than_min", `Value ${value} smaller than min of ${settings["min"]}`, input);
    else if (typeof value === "number" && typeof settings["max"] === "number" && value > settings["max"])
      add("value_bigger_than_max", `Value ${value} bigger than max of ${settings["max"]}`, input);
  }
  return errors;
}

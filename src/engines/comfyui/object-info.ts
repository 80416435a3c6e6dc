import { isRecord } from "./workflow.ts";

/** What a server's nodes are: the answers of GET /object_info/CLASS, read leniently because custom nodes fill them. */
export type ObjectInfo = ReadonlyMap<string, NodeClass>;

export interface NodeClass {
  readonly name: string;
  /** `custom`: not ComfyUI's own. `untold`: it is there and cannot say what it takes. */
  readonly from: "comfyui" | "custom" | "untold";
  readonly inputs: ReadonlyMap<string, NodeInput>;
  /** In the order of declaration, as the editor's `widgets_values` follow it. */
  readonly order: readonly string[];
  readonly isOutput: boolean;
  readonly outputs: readonly string[];
}

export interface NodeInput {
  readonly name: string;
  readonly required: boolean;
  /** `INT`, `MODEL`, …; `COMBO` for a choice; `*` for anything. */
  readonly type: string;
  /** A choice's values. Undefined: not known here (too many, or made by the editor). */
  readonly options?: readonly unknown[];
  readonly min?: number;
  readonly max?: number;
  readonly default?: unknown;
  /** The input takes only a link although its type would have a widget. */
  readonly forceInput: boolean;
  /** A widget for what happens to the seed after a run follows it in the editor's list of values. */
  readonly hasControl: boolean;
  /** Files that were uploaded: the list may be older than the file. */
  readonly isUpload: boolean;
}

/** A class that is there, of which nothing is known. */
export function untold(name: string): NodeClass {
  return { name, from: "untold", inputs: new Map(), order: [], isOutput: true, outputs: [] };
}

export function readNodeClass(name: string, node: Readonly<Record<string, unknown>>): NodeClass {
  const inputs = new Map<string, NodeInput>();
  const groups = isRecord(node["input"]) ? node["input"] : {};
  for (const group of ["required", "optional"] as const) {
    const members = isRecord(groups[group]) ? groups[group] : {};
    for (const [input, spec] of Object.entries(members)) inputs.set(input, readInput(input, spec, group === "required"));
  }
  const declared = isRecord(node["input_order"]) ? node["input_order"] : {};
  const order = (["required", "optional"] as const).flatMap((group) => (Array.isArray(declared[group]) ? declared[group].map(String) : []));
  return {
    name,
    from: String(node["python_module"]).startsWith("custom_nodes") ? "custom" : "comfyui",
    inputs,
    order: order.length > 0 ? order : [...inputs.keys()],
    isOutput: node["output_node"] === true,
    outputs: Array.isArray(node["output"]) ? node["output"].map((type) => (Array.isArray(type) ? "COMBO" : String(type))) : [],
  };
}

/** `[["a", "b"], {…}]` is the old way of a choice, `["COMBO", { options: […] }]` the new one; both are in use side by side. */
function readInput(name: string, spec: unknown, required: boolean): NodeInput {
  const [type, settings] = Array.isArray(spec) ? (spec as readonly unknown[]) : [spec];
  const more = isRecord(settings) ? settings : {};
  const options = Array.isArray(type) ? type : Array.isArray(more["options"]) ? more["options"] : undefined;
  const number = (key: string) => (typeof more[key] === "number" ? { [key]: more[key] } : {});
  return {
    name,
    required,
    type: Array.isArray(type) ? "COMBO" : typeof type === "string" ? type : "*",
    ...(options && !("remote" in more) && { options }),
    ...number("min"),
    ...number("max"),
    ...("default" in more && { default: more["default"] }),
    forceInput: more["forceInput"] === true,
    hasControl: more["control_after_generate"] === true || ((name === "seed" || name === "noise_seed") && type === "INT"),
    isUpload: Object.keys(more).some((key) => key.endsWith("_upload")),
  };
}

/** The values that an input of a class may have, such as the checkpoints that this server really has. */
export function choicesOf(info: ObjectInfo, className: string, input: string): readonly string[] {
  return (info.get(className)?.inputs.get(input)?.options ?? []).filter((value) => typeof value === "string");
}

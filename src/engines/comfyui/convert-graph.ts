import type { WorkflowFault } from "./failure.ts";
import type { NodeClass, NodeInput, ObjectInfo } from "./object-info.ts";
import { isRecord, type Workflow, type WorkflowNode } from "./workflow.ts";

type Graph = Readonly<Record<string, unknown>>;

interface GraphNode {
  readonly id: string;
  readonly type: string;
  readonly title: string | undefined;
  /** 0 always, 2 muted, 4 bypassed. */
  readonly mode: number;
  readonly inputs: readonly { readonly name: string; readonly type: string; readonly link: string | undefined; readonly widget: string | undefined }[];
  readonly outputs: readonly string[];
  readonly values: unknown;
}

interface GraphLink {
  readonly node: string;
  readonly output: number;
}

const widgetTypes = new Set(["INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"]);
const controls = new Set(["fixed", "increment", "decrement", "randomize"]);
/** Only for people; they are no part of what runs. */
const notes = new Set(["Note", "MarkdownNote"]);
const farthest = 1000;

/**
 * The editor's own form (`nodes`, `links`) in the API's form, as the editor itself would export it: links by name, values by the order
 * of the widgets, reroutes and bypassed nodes replaced by what they lead to. What only the editor can do (subgraphs, group nodes) is a fault.
 */
export function convertGraph(graph: Graph, info: ObjectInfo): { readonly workflow: Workflow; readonly faults: readonly WorkflowFault[] } {
  const nodes = new Map(readNodes(graph).map((node) => [node.id, node]));
  const links = readLinks(graph);
  const workflow: Record<string, WorkflowNode> = {};
  const faults: WorkflowFault[] = [];
  for (const node of nodes.values()) {
    if (notes.has(node.type) || node.type === "Reroute" || node.type === "PrimitiveNode" || node.mode === 2 || node.mode === 4) continue;
    const known = info.get(node.type);
    if (!known) {
      faults.push(unknownNode(node, graph));
      continue;
    }
    const inputs: Record<string, unknown> = { ...widgetValues(node, known) };
    for (const input of node.inputs) {
      if (input.link === undefined) continue;
      const source = resolve(input.link, input.type);
      if (!source) delete inputs[input.widget ?? input.name];
      else inputs[input.widget ?? input.name] = "value" in source ? source.value : [source.node, source.output];
    }
    workflow[node.id] = { class_type: node.type, inputs, ...(node.title !== undefined && { _meta: { title: node.title } }) };
  }
  return { workflow, faults };

  /** Where a link really comes from; undefined when it leads to something muted. */
  function resolve(id: string, type: string): GraphLink | { readonly value: unknown } | undefined {
    let link = links.get(id);
    for (let hops = 0; link && hops < farthest; hops++) {
      const source = nodes.get(link.node);
      if (!source || source.mode === 2) return undefined;
      if (source.type === "PrimitiveNode") return { value: Array.isArray(source.values) ? (source.values as readonly unknown[])[0] : undefined };
      if (source.type !== "Reroute" && source.mode !== 4) return link;
      const wanted = source.outputs[link.output] ?? type;
      const through =
        source.type === "Reroute"
          ? source.inputs[0]
          : source.inputs[link.output]?.type === wanted
            ? source.inputs[link.output]
            : source.inputs.find((one) => one.type === wanted);
      link = through?.link === undefined ? undefined : links.get(through.link);
    }
    return undefined;
  }
}

/** The classes that a graph names, some of which only the editor knows. */
export function graphClasses(graph: Graph): string[] {
  return [...new Set(readNodes(graph).map((node) => node.type))];
}

/** A widget's value may be overridden by a link; which inputs have widgets is the class's matter. */
function widgetValues({ values }: GraphNode, known: NodeClass): Record<string, unknown> {
  if (isRecord(values)) return Object.fromEntries(Object.entries(values).filter(([name]) => known.inputs.has(name)));
  const list: readonly unknown[] = Array.isArray(values) ? values : [];
  const found: Record<string, unknown> = {};
  let at = 0;
  for (const name of known.order) {
    const input = known.inputs.get(name);
    if (!input || !hasWidget(input)) continue;
    if (at >= list.length) break;
    found[name] = list[at++];
    if (input.hasControl && typeof list[at] === "string" && controls.has(list[at] as string)) at += 1;
    // The upload button is a widget of its own.
    if (input.isUpload && (list[at] === "image" || list[at] === "video" || list[at] === "audio" || list[at] === "" || list[at] === null)) at += 1;
  }
  return found;
}

function hasWidget({ type, forceInput }: NodeInput): boolean {
  return widgetTypes.has(type) && !forceInput;
}

function unknownNode(node: GraphNode, graph: Graph): WorkflowFault {
  const subgraphs = isRecord(graph["definitions"]) && Array.isArray(graph["definitions"]["subgraphs"]) ? graph["definitions"]["subgraphs"] : [];
  const isSubgraph =
    subgraphs.some((one) => isRecord(one) && one["id"] === node.type) || node.type.startsWith("workflow>") || node.type.startsWith("workflow/");
  const name = node.title ?? node.type;
  return isSubgraph
    ? { node: node.id, message: `"${name}" is a group of nodes, which only the editor can unfold`, hint: 'in ComfyUI, use "Export (API)"' }
    : { node: node.id, class: node.type, message: `there is no node class "${node.type}" on this server`, hint: "install the custom node that brings it" };
}

function readNodes(graph: Graph): GraphNode[] {
  return (graph["nodes"] as readonly unknown[]).filter(isRecord).map((node) => ({
    id: String(node["id"]),
    type: String(node["type"]),
    title: typeof node["title"] === "string" ? node["title"] : undefined,
    mode: typeof node["mode"] === "number" ? node["mode"] : 0,
    inputs: (Array.isArray(node["inputs"]) ? node["inputs"] : []).filter(isRecord).map((input) => ({
      name: String(input["name"]),
      type: String(input["type"]),
      link: typeof input["link"] === "number" || typeof input["link"] === "string" ? String(input["link"]) : undefined,
      widget: isRecord(input["widget"]) && typeof input["widget"]["name"] === "string" ? input["widget"]["name"] : undefined,
    })),
    outputs: (Array.isArray(node["outputs"]) ? node["outputs"] : []).filter(isRecord).map((output) => String(output["type"])),
    values: node["widgets_values"],
  }));
}

/** `[id, from node, from output, to node, to input, type]`; newer editors write objects. */
function readLinks(graph: Graph): ReadonlyMap<string, GraphLink> {
  const links = new Map<string, GraphLink>();
  for (const link of Array.isArray(graph["links"]) ? (graph["links"] as readonly unknown[]) : []) {
    if (Array.isArray(link)) links.set(String(link[0]), { node: String(link[1]), output: Number(link[2]) });
    else if (isRecord(link)) links.set(String(link["id"]), { node: String(link["origin_id"]), output: Number(link["origin_slot"]) });
  }
  return links;
}

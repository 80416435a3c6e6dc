import { confineName } from "./confine-name.ts";
import { type ImageSlot, isUrl } from "./image-slots.ts";
import { looksLikeImage } from "./image-text.ts";
import { type Body, expected, type Invalid, invalid, isObject } from "./invalid.ts";

/**
 * How an input names a ComfyUI workflow. `whole`: worker-comfyui's `{"workflow": {…}, "images"?: [{"name", "image"}],
 * "comfy_org_api_key"?}`, in ComfyUI's API format or the editor's, or as text. `bare`: an API workflow by itself. `named`:
 * `{"workflow": "portrait", …}`, one of the engine's own with values for its parameters.
 */
export type WorkflowForm = "whole" | "bare" | "named";

export function workflowFormOf(input: Body): WorkflowForm | undefined {
  const { workflow } = input;
  if (isObject(workflow)) return "whole";
  if (typeof workflow === "string" && workflow !== "") return parsed(workflow) ? "whole" : "named";
  const nodes = Object.values(input);
  return nodes.length > 0 && nodes.every((node) => isObject(node) && typeof node["class_type"] === "string") ? "bare" : undefined;
}

/** A workflow as text, which some clients send. */
function parsed(text: string): Body | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Parameters of a named workflow that hold an image: by their names, as the engine's connection reads them. */
export function namedImageSlots(input: Body): readonly ImageSlot[] {
  return Object.entries(input).flatMap(([key, text]) => {
    const isImage = typeof text === "string" && /image|mask|picture/i.test(key) && isUrl(text);
    return isImage ? [{ keys: [key], path: `input.${key.slice(0, 60)}`, text, isImage }] : [];
  });
}

/** Where a node says what to read or write below ComfyUI's own folders. */
const fileInputs = new Set(["filename_prefix", "subfolder", "image", "audio", "video", "mask", "file", "filename"]);

/** What is wrong with it before any ComfyUI has seen it; its nodes are ComfyUI's to judge. */
export function findWorkflowFault(input: Body, form: WorkflowForm, { allowPaths }: { allowPaths: boolean }): Invalid | undefined {
  if (form === "bare") return allowPaths ? undefined : findOutsideFile(input, "input");
  const { workflow, images } = input;
  if (images !== undefined && images !== null && !Array.isArray(images)) return expected("input.images", "a list of {name, image}", images);
  for (const [index, one] of ((images ?? []) as readonly unknown[]).entries()) {
    const at = `input.images[${index}]`;
    if (!isObject(one)) return expected(at, "an object with name and image", one);
    if (typeof one["name"] !== "string") return expected(`${at}.name`, "a file name", one["name"] ?? null);
    if (typeof one["image"] !== "string") return expected(`${at}.image`, "an image as URL, data URI or base64", one["image"] ?? null);
    const fault = confineName(one["name"], { folders: true });
    if (fault !== undefined) return invalid(`${at}.name`, fault);
  }
  if (allowPaths || form === "named") return undefined;
  return findOutsideFile(typeof workflow === "string" ? (parsed(workflow) ?? {}) : (workflow as Body), "input.workflow");
}

function findOutsideFile(workflow: Body, at: string): Invalid | undefined {
  for (const [node, value] of Object.entries(workflow)) {
    const inputs = isObject(value) ? value["inputs"] : undefined;
    if (!isObject(inputs)) continue;
    for (const [key, text] of Object.entries(inputs)) {
      if (!fileInputs.has(key) || typeof text !== "string" || text === "" || /^https?:\/\//i.test(text) || looksLikeImage(text)) continue;
      // `picture.png [input]` names one of ComfyUI's folders; a prefix may end in a slash.
      const fault = text.length > 4096 ? undefined : confineName(text.replace(/ \[(?:input|output|temp)\]$/, "").replace(/\/$/, ""), { folders: true });
      if (fault !== undefined) return invalid(`${at}.${node.slice(0, 60)}.inputs.${key}`, `${fault}, which a job may not name here (jobs.allowPaths)`);
    }
  }
  return undefined;
}

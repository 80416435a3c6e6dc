import { confineName } from "./confine-name.ts";
import { looksLikeImage } from "./image-text.ts";
import { type Body, expected, type Invalid, invalid, isObject } from "./invalid.ts";

/** worker-comfyui's input: `{"workflow": {…}, "images"?: [{"name", "image"}], "comfy_org_api_key"?}`, the workflow in ComfyUI's API format. */
export function isWorkflow(input: Body): boolean {
  return isObject(input["workflow"]);
}

/** Where a node says what to read or write below ComfyUI's own folders. */
const fileInputs = new Set(["filename_prefix", "subfolder", "image", "audio", "video", "mask", "file", "filename"]);

/** What is wrong with it before any ComfyUI has seen it; its nodes are ComfyUI's to judge. */
export function findWorkflowFault({ workflow, images }: Body, { allowPaths }: { allowPaths: boolean }): Invalid | undefined {
  if (images !== undefined && images !== null && !Array.isArray(images)) return expected("input.images", "a list of {name, image}", images);
  for (const [index, one] of ((images ?? []) as readonly unknown[]).entries()) {
    const at = `input.images[${index}]`;
    if (!isObject(one)) return expected(at, "an object with name and image", one);
    if (typeof one["name"] !== "string") return expected(`${at}.name`, "a file name", one["name"] ?? null);
    if (typeof one["image"] !== "string") return expected(`${at}.image`, "an image as URL, data URI or base64", one["image"] ?? null);
    const fault = confineName(one["name"], { folders: true });
    if (fault !== undefined) return invalid(`${at}.name`, fault);
  }
  return allowPaths ? undefined : findOutsideFile(workflow as Body);
}

function findOutsideFile(workflow: Body): Invalid | undefined {
  for (const [node, value] of Object.entries(workflow)) {
    const inputs = isObject(value) ? value["inputs"] : undefined;
    if (!isObject(inputs)) continue;
    for (const [key, text] of Object.entries(inputs)) {
      if (!fileInputs.has(key) || typeof text !== "string" || text === "" || /^https?:\/\//i.test(text) || looksLikeImage(text)) continue;
      // `picture.png [input]` names one of ComfyUI's folders; a prefix may end in a slash.
      const fault = text.length > 4096 ? undefined : confineName(text.replace(/ \[(?:input|output|temp)\]$/, "").replace(/\/$/, ""), { folders: true });
      if (fault !== undefined) return invalid(`input.workflow.${node.slice(0, 60)}.inputs.${key}`, `${fault}, which a job may not name here (jobs.allowPaths)`);
    }
  }
  return undefined;
}

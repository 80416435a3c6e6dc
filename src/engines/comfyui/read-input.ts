import type { Attempt } from "../engine.ts";
import type { Failed } from "./failure.ts";
import { formOf, isBareWorkflow, isRecord, type Workflow } from "./workflow.ts";

/** An image that comes with the job, to be uploaded under its name. */
export interface JobImage {
  readonly name: string;
  /** Decoded. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly mime: string;
}

/** A job for ComfyUI. `ui`: a workflow as the editor saves it. `named` and `fields`: described by parameters, the workflow is ours to find. */
export type ComfyJob = (
  | { readonly type: "workflow"; readonly workflow: Workflow }
  | { readonly type: "ui"; readonly graph: Readonly<Record<string, unknown>> }
  | { readonly type: "named"; readonly name: string; readonly fields: Readonly<Record<string, unknown>> }
  | { readonly type: "fields"; readonly fields: Readonly<Record<string, unknown>> }
) & {
  readonly images: readonly JobImage[];
  /** For nodes that call comfy.org's paid API. */
  readonly apiKey: string | undefined;
};

/** worker-comfyui's `{workflow, images?, comfy_org_api_key?}`, a bare workflow, `{workflow: "name", …}` or A1111's names. */
export function readInput(input: Attempt["input"]): ComfyJob | Failed {
  if (isBareWorkflow(input)) return { type: "workflow", workflow: input as Workflow, images: [], apiKey: undefined };
  const { workflow, images, comfy_org_api_key: key, api_key_comfy_org: keyToo, ...fields } = input;
  const read = readImages(images);
  if (!Array.isArray(read)) return read as Failed;
  const apiKey = typeof key === "string" && key ? key : typeof keyToo === "string" && keyToo ? keyToo : undefined;
  const common = { images: read, apiKey };
  if (workflow === undefined || workflow === null) return { ...common, type: "fields", fields };
  const parsed = typeof workflow === "string" ? parseObject(workflow) : workflow;
  if (typeof workflow === "string" && parsed === undefined) return { ...common, type: "named", name: workflow, fields };
  // Some clients send the body of POST /prompt.
  const inner = isRecord(parsed) && formOf(parsed) === "none" && formOf(parsed["prompt"]) === "api" ? parsed["prompt"] : parsed;
  switch (formOf(inner)) {
    case "api":
      return { ...common, type: "workflow", workflow: inner as Workflow };
    case "ui":
      return { ...common, type: "ui", graph: inner as Record<string, unknown> };
    case "none":
      return invalid("workflow", "it is no workflow: expected ComfyUI's API format, { node id: { class_type, inputs } }", {
        hint: 'In ComfyUI, use "Export (API)".',
      });
  }
}

export function invalid(field: string, reason: string, more: Readonly<Record<string, unknown>> = {}): Failed {
  const { hint } = more;
  const message = `Cannot run the job: ${field}: ${reason}.${typeof hint === "string" ? ` ${hint}` : ""}`;
  return { type: "failed", code: "job.invalid", message, retryable: false, details: { field, ...more } };
}

function readImages(images: unknown): readonly JobImage[] | Failed {
  if (images === undefined || images === null) return [];
  if (!Array.isArray(images)) return invalid("images", "it must be a list of { name, image }");
  const read: JobImage[] = [];
  for (const [index, one] of (images as readonly unknown[]).entries()) {
    const at = `images[${index}]`;
    if (!isRecord(one) || typeof one["name"] !== "string" || typeof one["image"] !== "string")
      return invalid(at, "it must have a name and an image, both texts");
    const [, mime, , text = ""] = /^(?:data:([^;,]*)(;[^,]*)?,)?(.*)$/s.exec(one["image"]) ?? [];
    const bytes = Uint8Array.from(Buffer.from(text, "base64"));
    if (bytes.length === 0) return invalid(`${at}.image`, "it is not base64");
    read.push({ name: one["name"], bytes, mime: mime || "image/png" });
  }
  return read;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

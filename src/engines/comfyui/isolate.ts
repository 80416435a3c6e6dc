import { basename } from "node:path";
import { asLink, withInput, type Workflow } from "./workflow.ts";

const folder = "fettle";

/** Where a job's own files lie below ComfyUI's input and output folders. */
export function jobFolder(attemptId: string): string {
  return `${folder}/${attemptId.replace(/[^A-Za-z0-9._-]/g, "_")}`;
}

/** Gives every output file a folder of its job: parallel jobs never touch each other, and a cached prompt still writes its file. */
export function withOwnPrefixes(workflow: Workflow, attemptId: string): Workflow {
  let own = workflow;
  for (const [node, { inputs }] of Object.entries(workflow)) {
    const prefix = inputs?.["filename_prefix"];
    if (typeof prefix === "string") own = withInput(own, node, "filename_prefix", `${jobFolder(attemptId)}/${prefix}`);
  }
  return own;
}

/** The folder as the caller's workflow had it. */
export function withoutPrefix(subfolder: string, attemptId: string): string {
  const own = jobFolder(attemptId);
  return subfolder === own ? "" : subfolder.startsWith(`${own}/`) ? subfolder.slice(own.length + 1) : subfolder;
}

/** Puts uploaded files in the place of the names that the caller gave them, wherever a node names exactly one of them. */
export function withUploads(workflow: Workflow, uploads: ReadonlyMap<string, string>): Workflow {
  let own = workflow;
  for (const [node, { inputs }] of Object.entries(workflow)) {
    for (const [input, value] of Object.entries(inputs ?? {})) {
      if (typeof value !== "string" || asLink(value)) continue;
      const uploaded = uploads.get(value) ?? uploads.get(value.replace(/ \[input\]$/, ""));
      if (uploaded !== undefined) own = withInput(own, node, input, uploaded);
    }
  }
  return own;
}

/** A plain file name for an upload; what it was called stays recognisable. */
export function uploadName(name: string): string {
  return basename(name.replaceAll("\\", "/")).replace(/[^A-Za-z0-9._ -]/g, "_") || "image";
}

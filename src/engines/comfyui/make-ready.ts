import { reasonOf } from "../../errors/fettle-error.ts";
import { BadStatus, type ComfyApi } from "./api.ts";
import { type Failed, workflowFailure } from "./failure.ts";
import type { WorkflowFinder } from "./find-workflow.ts";
import { jobFolder, uploadName, withOwnPrefixes, withUploads } from "./isolate.ts";
import type { ServerNodes } from "./nodes.ts";
import type { ObjectInfo } from "./object-info.ts";
import { preflight } from "./preflight.ts";
import { type ComfyJob, invalid, type JobImage } from "./read-input.ts";
import { classesOf, type Workflow } from "./workflow.ts";

export interface Ready {
  readonly type: "ready";
  readonly workflow: Workflow;
  readonly info: ObjectInfo;
  readonly parameters: Readonly<Record<string, unknown>> | undefined;
  readonly warnings: readonly string[];
}

export interface MakeReadyParts {
  readonly api: ComfyApi;
  readonly nodes: ServerNodes;
  readonly find: WorkflowFinder;
}

/** The server could not be asked for something that the prompt needs before it can be sent: nothing was queued. */
export class BeforeSubmit extends Error {
  override readonly name = "BeforeSubmit";
}

/** The workflow that will be sent: found, checked, with this job's own files. Throws `BeforeSubmit`. */
export async function makeReady(job: ComfyJob, attemptId: string, parts: MakeReadyParts, { signal }: { signal: AbortSignal }): Promise<Ready | Failed> {
  try {
    const found = await parts.find(job, { signal });
    if (found.type === "failed") return found;
    const images = [...job.images, ...found.images];
    const classes = classesOf(found.workflow);
    const uploads = new Set(images.map(({ name }) => name));
    const faults = await parts.nodes.check(classes, (info, names) => preflight(found.workflow, info, { names, uploads }), { signal });
    if (faults.length > 0) return workflowFailure(faults, found.workflow, "job.invalid");
    const uploaded = await upload(images, attemptId, parts.api, { signal });
    if (!(uploaded instanceof Map)) return uploaded;
    const info = await parts.nodes.info(classes, { signal });
    const workflow = withOwnPrefixes(withUploads(found.workflow, uploaded), attemptId);
    return { type: "ready", workflow, info, parameters: found.parameters, warnings: warningsOf(info) };
  } catch (error) {
    throw new BeforeSubmit(reasonOf(error), { cause: error });
  }
}

/** Each in a folder of its own, so that parallel jobs may give theirs the same names. */
async function upload(
  images: readonly JobImage[],
  attemptId: string,
  api: ComfyApi,
  { signal }: { signal: AbortSignal },
): Promise<Map<string, string> | Failed> {
  const uploads = new Map<string, string>();
  for (const [index, { name, bytes, mime }] of images.entries()) {
    const subfolder = `${jobFolder(attemptId)}/${index}`;
    try {
      uploads.set(name, await api.upload(uploadName(name), bytes, { mime, subfolder, signal }));
    } catch (error) {
      if (!(error instanceof BadStatus) || error.status >= 500) throw error;
      const hint = error.status === 413 ? "Start ComfyUI with a larger --max-upload-size." : "";
      return invalid(`images.${name.slice(0, 80)}`, `ComfyUI does not take it: ${error.message}`, hint ? { hint } : {});
    }
  }
  return uploads;
}

function warningsOf(info: ObjectInfo): string[] {
  const untold = [...info.values()].filter(({ from }) => from === "untold").map(({ name }) => name);
  return untold.length === 0 ? [] : [`ComfyUI cannot describe ${untold.join(", ")} (see its log): these nodes were sent unchecked.`];
}

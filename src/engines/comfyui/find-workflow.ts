import { builtIn, builtInClasses } from "./built-in.ts";
import { convertGraph, graphClasses } from "./convert-graph.ts";
import { type Failed, workflowFailure } from "./failure.ts";
import type { ServerNodes } from "./nodes.ts";
import type { NamedWorkflows } from "./named.ts";
import type { ComfyJob, JobImage } from "./read-input.ts";
import type { Workflow } from "./workflow.ts";

/** The workflow for a job, with the images it needs besides the job's own. */
export interface FoundWorkflow {
  readonly type: "found";
  readonly workflow: Workflow;
  readonly images: readonly JobImage[];
  /** What was used, seed included, when the workflow was filled in here. */
  readonly parameters: Readonly<Record<string, unknown>> | undefined;
}

export type WorkflowFinder = (job: ComfyJob, options: { signal: AbortSignal }) => Promise<FoundWorkflow | Failed>;

export interface FinderParts {
  readonly nodes: ServerNodes;
  readonly named: NamedWorkflows;
  /** Used when a job names none; undefined: the first one the server has. */
  readonly checkpoint: string | undefined;
}

/** Where each form of a job gets its workflow from. */
export function createFinder({ nodes, named, checkpoint }: FinderParts): WorkflowFinder {
  return async (job, { signal }) => {
    switch (job.type) {
      case "workflow":
        return { type: "found", workflow: job.workflow, images: [], parameters: undefined };
      case "ui": {
        const converted = convertGraph(job.graph, await nodes.info(graphClasses(job.graph), { signal }));
        if (converted.faults.length > 0) return workflowFailure(converted.faults, {}, "job.invalid");
        return { type: "found", workflow: converted.workflow, images: [], parameters: undefined };
      }
      case "named":
        return await named.fill(job.name, job.fields);
      case "fields": {
        const first = builtIn(job.fields, await nodes.info(builtInClasses, { signal }), { checkpoint });
        if (first.type === "found") return first;
        // The model may have come a moment ago.
        return builtIn(job.fields, await nodes.info(builtInClasses, { signal, maxAgeMs: 0 }), { checkpoint });
      }
    }
  };
}

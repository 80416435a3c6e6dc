import type { ComfyApi } from "./api.ts";
import type { WorkflowFault } from "./failure.ts";
import type { ObjectInfo } from "./object-info.ts";
import type { Workflow } from "./workflow.ts";

/** What a workflow needs of a server's nodes is asked once; only a workflow that seems wrong makes it be asked again: models come and go. */
export class ServerNodes {
  readonly #api: ComfyApi;
  #known: Promise<ObjectInfo> | undefined;

  constructor(api: ComfyApi) {
    this.#api = api;
  }

  async info({ signal }: { signal: AbortSignal }): Promise<ObjectInfo> {
    const asked = (this.#known ??= this.#api.objectInfo({ signal }));
    try {
      return await asked;
    } catch (error) {
      if (this.#known === asked) this.#known = undefined;
      throw error;
    }
  }

  /** Faults that a fresh look at the server confirms. */
  async check(_workflow: Workflow, find: (info: ObjectInfo) => WorkflowFault[], { signal }: { signal: AbortSignal }): Promise<WorkflowFault[]> {
    const wasKnown = this.#known !== undefined;
    const faults = find(await this.info({ signal }));
    if (faults.length === 0 || !wasKnown) return faults;
    this.forget();
    return find(await this.info({ signal }));
  }

  /** The server was restarted: it may know other nodes and models now. */
  forget(): void {
    this.#known = undefined;
  }
}

import type { ComfyApi } from "./api.ts";
import { BadStatus } from "./api.ts";
import type { WorkflowFault } from "./failure.ts";
import { type NodeClass, type ObjectInfo, untold } from "./object-info.ts";

interface Cancel {
  readonly signal: AbortSignal;
}

interface Known {
  readonly askedAt: number;
  readonly answer: Promise<NodeClass | undefined>;
}

const atOnce = 8;
/** What was asked so recently need not be asked again before a workflow is called wrong. */
const freshMs = 1000;

/** How a workflow is checked: with the classes it names, and all names there are when it names one that is not among them. */
export type Check = (info: ObjectInfo, names: readonly string[]) => WorkflowFault[];

/**
 * What a workflow needs to know of a server's nodes, each class asked for once. Only a workflow that seems wrong makes them be asked
 * for again: models come and go.
 */
export class ServerNodes {
  readonly #api: ComfyApi;
  readonly #known = new Map<string, Known>();

  constructor(api: ComfyApi) {
    this.#api = api;
  }

  /** Classes that the server does not have are left out. */
  async info(classes: Iterable<string>, { signal, maxAgeMs = Infinity }: Cancel & { readonly maxAgeMs?: number }): Promise<ObjectInfo> {
    const wanted = [...new Set(classes)];
    const info = new Map<string, NodeClass>();
    for (let at = 0; at < wanted.length; at += atOnce) {
      const some = wanted.slice(at, at + atOnce);
      const found = await Promise.all(some.map(async (name) => await this.#class(name, maxAgeMs, { signal })));
      for (const node of found) if (node) info.set(node.name, node);
    }
    return info;
  }

  /** Faults that a fresh look at the server confirms. */
  async check(classes: readonly string[], check: Check, { signal }: Cancel): Promise<WorkflowFault[]> {
    if (check(await this.info(classes, { signal }), []).length === 0) return [];
    const info = await this.info(classes, { signal, maxAgeMs: freshMs });
    const isStrange = classes.some((name) => !info.has(name));
    return check(info, isStrange ? await this.#api.classNames({ signal }).catch(() => []) : []);
  }

  /** The server was restarted: it may know other nodes and models now. */
  forget(): void {
    this.#known.clear();
  }

  async #class(name: string, maxAgeMs: number, { signal }: Cancel): Promise<NodeClass | undefined> {
    let known = this.#known.get(name);
    if (!known || performance.now() - known.askedAt > maxAgeMs) {
      known = { askedAt: performance.now(), answer: this.#ask(name, { signal }) };
      this.#known.set(name, known);
    }
    try {
      return await known.answer;
    } catch (error) {
      if (this.#known.get(name) === known) this.#known.delete(name);
      // Somebody else asked and went away.
      if (!signal.aborted && (error as Error | undefined)?.name === "AbortError") return await this.#class(name, maxAgeMs, { signal });
      throw error;
    }
  }

  /** A custom node that cannot describe itself makes ComfyUI answer 500: nothing is known of it then, and ComfyUI must judge. */
  async #ask(name: string, { signal }: Cancel): Promise<NodeClass | undefined> {
    try {
      return await this.#api.nodeClass(name, { signal });
    } catch (error) {
      if (error instanceof BadStatus && (error.status === 500 || error.status === 404)) return untold(name);
      throw error;
    }
  }
}

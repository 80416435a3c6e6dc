// engines/comfyui/ owns the launch of and the talk with ComfyUI (0.3.x to current): prompts queued over HTTP, followed over the
// WebSocket, their truth read from history and queue. Takes: an endpoint and single attempts: a workflow, a named one, or A1111's
// names. Gives: an `Engine` whose answers look like every other's. Must not know sources, the pool or processes.
import { createHash, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { ConnectOptions, Endpoint, Engine } from "../engine.ts";
import { baseOf } from "../sdapi/request.ts";
import { ComfyApi } from "./api.ts";
import { createFinder } from "./find-workflow.ts";
import { NamedWorkflows } from "./named.ts";
import { ServerNodes } from "./nodes.ts";
import { PromptRun } from "./prompt-run.ts";
import { ComfySocket } from "./socket.ts";
import { settle } from "./stop.ts";

/** What the configuration says about this engine besides its address. */
export interface ComfySettings {
  /** A folder of named workflows. */
  readonly workflows?: string;
  /** The checkpoint of jobs that name none. */
  readonly checkpoint?: string;
  /** For nodes that call comfy.org's paid API. */
  readonly comfyOrgApiKey?: string;
}

export function connectComfyui(endpoint: Endpoint & { readonly settings?: ComfySettings }, options: ConnectOptions): Engine {
  const { name, url, slots, settings = {} } = endpoint;
  const api = new ComfyApi(baseOf(url));
  // The same in each life of this worker, so that what a former one left in the queue is known.
  const owner = `fettle-${createHash("sha256")
    .update(`${hostname()} ${name} ${options.owner ?? ""}`)
    .digest("hex")
    .slice(0, 12)}`;
  const clientId = `${owner}-${randomUUID()}`;
  const socket = new ComfySocket(api.base, clientId);
  const nodes = new ServerNodes(api);
  const find = createFinder({ nodes, named: new NamedWorkflows(settings.workflows), checkpoint: settings.checkpoint });
  const closing = new AbortController();
  const parts = { api, socket, nodes, find, clientId, options, apiKey: settings.comfyOrgApiKey };
  return {
    name,
    kind: "comfyui",
    slots,
    isReady: async ({ signal }) => await api.isUp({ signal }),
    run: async (attempt, runOptions) => await new PromptRun(parts, attempt, runOptions).run(AbortSignal.any([runOptions.signal, closing.signal])),
    async settle({ signal }) {
      nodes.forget();
      await settle(api, (id) => id.startsWith(`${owner}-`), { signal });
    },
    freeMemory: async ({ signal }) => await api.free({ signal }),
    async close() {
      closing.abort();
      await socket.close();
    },
  };
}

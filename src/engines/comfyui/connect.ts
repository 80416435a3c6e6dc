// engines/comfyui/ owns the launch of and the talk with ComfyUI (0.3.x to current): prompts queued over HTTP, followed over the
// WebSocket, their truth read from history and queue. Takes: an endpoint and single attempts: a workflow, a named one, or A1111's
// names. Gives: an `Engine` whose answers look like every other's. Must not know sources, the pool or processes.
import { createHash, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { ConnectOptions, Endpoint, Engine } from "../engine.ts";
import { baseOf } from "../request.ts";
import { ComfyApi } from "./api.ts";
import { createFinder } from "./find-workflow.ts";
import { NamedWorkflows } from "./named.ts";
import { ServerNodes } from "./nodes.ts";
import { PromptRun } from "./prompt-run.ts";
import { ComfySocket } from "./socket.ts";
import { settle } from "./stop.ts";
import { warmUp } from "./warm-up.ts";

/** What the configuration says about this engine besides its address. */
// A type, not an interface: only so it is a Record as well, which a plan carries.
export type ComfySettings = {
  /** A folder of named workflows. */
  readonly workflows?: string;
  /** The checkpoint of jobs that name none. */
  readonly checkpoint?: string;
  /** For nodes that call comfy.org's paid API. */
  readonly comfyOrgApiKey?: string;
  /** A file with a job that is run before the first one, after each start. */
  readonly warmUp?: string;
  /** How prompts are sent; default http, which every version takes. */
  readonly promptVia?: "http" | "websocket";
};

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
  const active = new Set<string>();
  const { comfyOrgApiKey: apiKey, promptVia = "http" } = settings;
  const parts = { api, socket, nodes, find, options, active, apiKey, promptVia };
  const run: Engine["run"] = async (attempt, more) => await new PromptRun(parts, attempt, more).run(AbortSignal.any([more.signal, closing.signal]));
  const { warmUp: warmUpFile } = settings;
  return {
    name,
    kind: "comfyui",
    slots,
    tellsProgress: true,
    isReady: async ({ signal }) => await api.isUp({ signal }),
    run,
    ...(warmUpFile !== undefined && {
      warmUp: async ({ signal }: { signal: AbortSignal }) => await warmUp(warmUpFile, async (attempt) => await run(attempt, { signal })),
    }),
    async settle({ signal }) {
      nodes.forget();
      // Not what another slot of this very worker has there.
      await settle(api, (item) => item.clientId?.startsWith(`${owner}-`) === true && !active.has(item.promptId), { signal });
    },
    freeMemory: async ({ signal }) => await api.free({ signal }),
    async close() {
      closing.abort();
      await socket.close();
    },
  };
}

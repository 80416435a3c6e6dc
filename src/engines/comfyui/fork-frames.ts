import { isRecord } from "./workflow.ts";

/**
 * What stakeordie's fork says over its socket and stock ComfyUI does not (read in its server.py): the id it gave this client, whatever
 * was asked for, and the answer to a prompt that came over the socket.
 */
export type ForkFrame =
  | { readonly type: "client"; readonly id: string }
  /** As the answer to POST /prompt would be: `{prompt_id, number, node_errors}`, or `{error, node_errors}`. */
  | { readonly type: "answer"; readonly status: 200 | 400; readonly body: Readonly<Record<string, unknown>> };

const known = /^\{\s*"type":\s*"(client_id|prompt_queued|error)"/;

/** Undefined for every frame of stock ComfyUI, at the price of a look at its first characters. */
export function readForkFrame(text: string): ForkFrame | undefined {
  const type = known.exec(text)?.[1];
  if (type === undefined) return undefined;
  let data: unknown;
  try {
    data = (JSON.parse(text) as { readonly data?: unknown }).data;
  } catch {
    return undefined;
  }
  if (!isRecord(data)) return undefined;
  if (type !== "client_id") return { type: "answer", status: type === "prompt_queued" ? 200 : 400, body: data };
  return typeof data["client_id"] === "string" ? { type: "client", id: data["client_id"] } : undefined;
}

import { isRecord } from "./workflow.ts";

/** What the WebSocket tells of one prompt. It is a hint: frames may be lost, late or never come; the history is the truth. */
export type Hint =
  | { readonly type: "started" }
  | { readonly type: "cached"; readonly nodes: readonly string[] }
  /** A node begins; null: the prompt is over, its history is written. */
  | { readonly type: "node"; readonly node: string | null }
  | { readonly type: "progress"; readonly node: string; readonly value: number; readonly max: number }
  /** It ended somehow; its history is written a moment later. */
  | { readonly type: "over" }
  | Picture
  /** The socket was away for a while; whatever happened then is not told again. */
  | { readonly type: "gap" };

export interface Picture {
  readonly type: "picture";
  readonly mime: string;
  readonly bytes: Uint8Array;
  readonly node: string | undefined;
  /** Without loss (PNG): what SaveImageWebsocket sends; previews are JPEG. */
  readonly isWhole: boolean;
}

/** A hint and whose it is. */
export interface Told {
  readonly promptId: string;
  readonly hint: Hint;
}

/** Where the server is, for frames that name no prompt. */
export interface Current {
  readonly promptId: string;
  readonly node: string | null;
}

/** A text frame `{type, data}`; undefined: nothing about a prompt. */
export function readText(text: string): (Told & { readonly current?: Current }) | undefined {
  const message = parse(text);
  if (!isRecord(message) || !isRecord(message["data"])) return undefined;
  const { type, data } = message as { readonly type: unknown; readonly data: Record<string, unknown> };
  const promptId = data["prompt_id"];
  if (typeof promptId !== "string") return undefined;
  const hint = readHint(type, data);
  if (!hint) return undefined;
  return { promptId, hint, ...(hint.type === "node" && { current: { promptId, node: hint.node } }) };
}

function readHint(type: unknown, data: Record<string, unknown>): Hint | undefined {
  switch (type) {
    case "execution_start":
      return { type: "started" };
    case "execution_cached":
      return { type: "cached", nodes: Array.isArray(data["nodes"]) ? data["nodes"].map(String) : [] };
    case "executing":
      return { type: "node", node: textOrNull(data["node"]) };
    case "progress":
      return { type: "progress", node: String(data["node"]), value: Number(data["value"]), max: Number(data["max"]) };
    case "execution_success":
    case "execution_error":
    case "execution_interrupted":
      return { type: "over" };
    default:
      return undefined;
  }
}

/** A u32 says what it is: 1 a picture (u32 format), 4 a picture with metadata (u32 length, JSON). Others are texts of nodes. */
export function readBinary(bytes: Uint8Array, current: Current | undefined): Told | undefined {
  if (bytes.length < 8) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const second = view.getUint32(4);
  switch (view.getUint32(0)) {
    case 1: {
      if (!current) return undefined;
      const isWhole = second === 2;
      const mime = isWhole ? "image/png" : "image/jpeg";
      return { promptId: current.promptId, hint: { type: "picture", mime, bytes: bytes.subarray(8), node: current.node ?? undefined, isWhole } };
    }
    case 4: {
      const metadata = parse(new TextDecoder().decode(bytes.subarray(8, 8 + second)));
      if (!isRecord(metadata) || typeof metadata["prompt_id"] !== "string") return undefined;
      const mime = typeof metadata["image_type"] === "string" ? metadata["image_type"] : "image/jpeg";
      const node = textOrNull(metadata["node_id"]) ?? undefined;
      return { promptId: metadata["prompt_id"], hint: { type: "picture", mime, bytes: bytes.subarray(8 + second), node, isWhole: mime === "image/png" } };
    }
    default:
      return undefined;
  }
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import { isRecord } from "./workflow.ts";

/** A file that a prompt made, as the history names it. */
export interface FileName {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** A prompt's end as GET /history/ID tells it. */
export interface HistoryEntry {
  readonly outputs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly succeeded: boolean;
  /** `[event, fields]` in the order they happened, the last one says how it ended. */
  readonly messages: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
}

export interface QueueItem {
  readonly number: number;
  readonly promptId: string;
  readonly clientId: string | undefined;
}

export interface Queue {
  readonly running: readonly QueueItem[];
  /** In their order. */
  readonly pending: readonly QueueItem[];
}

/** Undefined: the prompt waits or runs, or the server does not know it. */
export function readHistory(body: unknown, promptId: string): HistoryEntry | undefined {
  const entry = isRecord(body) ? body[promptId] : undefined;
  if (!isRecord(entry)) return undefined;
  const state = isRecord(entry["status"]) ? entry["status"] : {};
  const messages = Array.isArray(state["messages"]) ? state["messages"].flatMap(readMessage) : [];
  const outputs = isRecord(entry["outputs"]) ? (entry["outputs"] as HistoryEntry["outputs"]) : {};
  // Very old versions have no status at all; outputs then mean success.
  const succeeded = state["status_str"] === undefined ? true : state["status_str"] === "success";
  return { outputs, succeeded, messages };
}

/** The pending ones stand in the order of a heap; their numbers say which is next. */
export function readQueue(body: Readonly<Record<string, unknown>>): Queue {
  const items = (key: string) => (Array.isArray(body[key]) ? body[key].flatMap(readItem) : []).sort((a, b) => a.number - b.number);
  return { running: items("queue_running"), pending: items("queue_pending") };
}

function readItem(item: unknown): QueueItem[] {
  if (!Array.isArray(item)) return [];
  const [number, promptId, , extra] = item as readonly unknown[];
  if (typeof promptId !== "string") return [];
  const clientId = isRecord(extra) && typeof extra["client_id"] === "string" ? extra["client_id"] : undefined;
  return [{ number: typeof number === "number" ? number : 0, promptId, clientId }];
}

function readMessage(message: unknown): [string, Record<string, unknown>][] {
  if (!Array.isArray(message)) return [];
  const [event, fields] = message as readonly unknown[];
  return typeof event === "string" && isRecord(fields) ? [[event, fields]] : [];
}

/** Asks a job API as a caller would, and reads what it says. */
import { limit } from "../jobs/worker-rig.ts";

export type Json = Record<string, unknown>;

export interface Answer {
  readonly status: number;
  readonly json: Json;
  readonly headers: Headers;
}

/** With a body it is a POST; text goes as it stands, anything else as JSON. */
export async function ask(url: string, body?: unknown, init: RequestInit = {}): Promise<Answer> {
  const post = body === undefined ? {} : { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body) };
  const response = await fetch(url, { ...post, ...init, ...limit(60_000) });
  const text = await response.text();
  return { status: response.status, json: text === "" ? {} : (JSON.parse(text) as Json), headers: response.headers };
}

export const post = (url: string, init: RequestInit = {}): Promise<Answer> => ask(url, undefined, { method: "POST", ...init });

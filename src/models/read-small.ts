import type { Buffer } from "node:buffer";
import { Fault } from "./fault.ts";
import type { Opened } from "./open-url.ts";

/** A small body as text. Throws `Fault` when it is larger, or breaks off. */
export async function readSmall({ response, stall, url }: Opened, maxBytes: number): Promise<string> {
  let text = "";
  let size = 0;
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      stall.heard();
      size += chunk.length;
      if (size > maxBytes) throw new Fault("model.wrong-content", `${url.hostname} answers with more than ${maxBytes} bytes`);
      text += decoder.decode(chunk, { stream: true });
    }
  } catch (error) {
    if (error instanceof Fault) throw error;
    if (stall.stalled) throw stall.fault();
    throw new Fault("model.unreachable", `the connection to ${url.hostname} broke off`, { passing: true });
  }
  if (!response.complete) throw new Fault("model.unreachable", `the connection to ${url.hostname} broke off`, { passing: true });
  return text + decoder.decode();
}

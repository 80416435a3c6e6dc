import type { IncomingMessage, ServerResponse } from "node:http";
import { FettleError } from "../errors/fettle-error.ts";
import { errorToJson } from "../errors/print.ts";

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { "content-type": "application/json", "content-length": body.length }).end(body);
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "content-length": body.length }).end(body);
}

/** Anything thrown as `{ "error": … }`; a bug shows its message only, the stack goes to nobody. */
export function sendError(response: ServerResponse, status: number, thrown: unknown): void {
  if (response.headersSent) return void response.destroy();
  const error = thrown instanceof FettleError ? errorToJson(thrown) : { code: "bug", message: String(thrown), hint: "" };
  sendJson(response, status, { error });
}

/** The whole body as text; rejects above `maxBytes`. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new FettleError("cli.bad-value", `Cannot read the request: it is larger than ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

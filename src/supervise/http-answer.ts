import { FettleError } from "../errors/fettle-error.ts";
import { errorToJson } from "../errors/print.ts";

export function jsonAnswer(status: number, value: unknown): Response {
  return new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json" } });
}

export function textAnswer(status: number, text: string): Response {
  return new Response(text, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

/** Anything thrown as `{ "error": … }`; a bug shows its message only, the stack goes to nobody. */
export function errorAnswer(status: number, thrown: unknown): Response {
  const error = thrown instanceof FettleError ? errorToJson(thrown) : { code: "bug", message: String(thrown), hint: "" };
  return jsonAnswer(status, { error });
}

/** The whole body as text; rejects above `maxBytes`. */
export async function readBody(request: Request, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.length;
    if (size > maxBytes) throw new FettleError("cli.bad-value", `Cannot read the request: it is larger than ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * A body that is fed from outside: `open` gets the function that sends and returns the one that is called when the reader has
 * left. A reader with more than `maxUnreadBytes` ahead of it is cut off.
 */
export function byteStream(maxUnreadBytes: number, open: (send: (bytes: Uint8Array) => void) => () => void): ReadableStream<Uint8Array> {
  let end = () => undefined as void;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        let isOver = false;
        const close = open((bytes) => {
          if (isOver) return;
          if (bytes.length > 0) controller.enqueue(bytes);
          if ((controller.desiredSize ?? 0) >= 0) return;
          end();
          controller.error(new Error("the reader is too far behind"));
        });
        end = () => {
          isOver = true;
          close();
        };
      },
      cancel: () => end(),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: maxUnreadBytes }),
  );
}

/** The server's half of a WebSocket, by hand, so that a test can break it at any point. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

export interface ServerSocket {
  send(frame: string | Uint8Array): void;
  /** The first text that the client sent. */
  readonly first: string | undefined;
  /** Whether it goes over this connection. */
  is(stream: Duplex): boolean;
  /** Without a goodbye. */
  destroy(): void;
}

export function acceptSocket(request: IncomingMessage, stream: Duplex, onText: (text: string) => void = () => {}): ServerSocket {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  stream.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let first: string | undefined;
  let isOpen = true;
  const end = () => {
    isOpen = false;
    stream.destroy();
  };
  stream.on("error", end).on("close", end);
  let held = Buffer.alloc(0);
  stream.on("data", (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    for (let frame = readFrame(held); frame; frame = readFrame(held)) {
      held = held.subarray(frame.sizeBytes);
      if (frame.opcode === 1) first ??= frame.text;
      if (frame.opcode === 1) onText(frame.text);
      if (frame.opcode === 8) end();
    }
  });
  return {
    send(frame) {
      if (isOpen) stream.write(writeFrame(typeof frame === "string" ? 1 : 2, Buffer.from(frame as Uint8Array)));
    },
    get first() {
      return first;
    },
    is: (other) => other === stream,
    destroy: end,
  };
}

function writeFrame(opcode: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = head.length === 2 ? payload.length : head.length === 4 ? 126 : 127;
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

/** A client's frame, which is always masked; undefined when it is not all there. Longer ones than 64 KB no test sends. */
function readFrame(bytes: Buffer): { readonly opcode: number; readonly text: string; readonly sizeBytes: number } | undefined {
  if (bytes.length < 4) return undefined;
  const length = (bytes[1] ?? 0) & 0x7f;
  const at = length === 126 ? 4 : 2;
  const size = length === 126 ? bytes.readUInt16BE(2) : length;
  const sizeBytes = at + 4 + size;
  if (bytes.length < sizeBytes) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const body = bytes.subarray(at + 4, sizeBytes).map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return { opcode: (bytes[0] ?? 0) & 0x0f, text: Buffer.from(body).toString("utf8"), sizeBytes };
}

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

export function acceptSocket(request: IncomingMessage, stream: Duplex): ServerSocket {
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
  stream.on("data", (chunk: Buffer) => {
    const [opcode, text] = readFrame(chunk);
    if (opcode === 1) first ??= text;
    if (opcode === 8) end();
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

/** A client's short frame, which is always masked. */
function readFrame(chunk: Buffer): readonly [opcode: number, text: string] {
  const length = (chunk[1] ?? 0) & 0x7f;
  const at = length === 126 ? 4 : 2;
  const size = length === 126 ? chunk.readUInt16BE(2) : length;
  const mask = chunk.subarray(at, at + 4);
  const body = chunk.subarray(at + 4, at + 4 + size).map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return [(chunk[0] ?? 0) & 0x0f, Buffer.from(body).toString("utf8")];
}

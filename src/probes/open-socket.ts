import { type BunSocket, bunApi } from "../util/bun.ts";

export interface SocketEvents {
  onOpen(): void;
  onBytes(bytes: Uint8Array): void;
  /** The last that is heard of it; with the error when it could not be opened or broke off. */
  onEnd(error?: Error): void;
}

export interface ProbeSocket {
  write(text: string): void;
  /** Ends it at once, open or not. */
  destroy(): void;
}

/** A TCP connection for one try of a probe. */
export function openSocket(host: string, port: number, events: SocketEvents): ProbeSocket {
  const bun = bunApi();
  if (!bun) return openOnNode(host, port, events);
  let isOver = false;
  const end = (error?: Error) => {
    if (!isOver) events.onEnd(error);
    isOver = true;
  };
  const connection = {
    hostname: host,
    port,
    socket: {
      open: (opened: BunSocket) => (isOver ? opened.terminate() : events.onOpen()),
      data: (_: BunSocket, bytes: Uint8Array) => void (isOver || events.onBytes(bytes)),
      close: () => end(),
      error: (_: BunSocket, error: Error) => end(error),
    },
  };
  // It throws what it refuses at once, such as port 0.
  const socket = Promise.resolve().then(() => bun.connect(connection));
  socket.catch(end);
  return {
    write: (text) => void socket.then((opened) => opened.write(text)).catch(() => undefined),
    destroy() {
      isOver = true;
      socket.then((opened) => opened.terminate()).catch(() => undefined);
    },
  };
}

function openOnNode(host: string, port: number, { onOpen, onBytes, onEnd }: SocketEvents): ProbeSocket {
  let isOver = false;
  const opening = import("node:net").then(({ connect }) => {
    const socket = connect({ host, port });
    if (isOver) socket.destroy();
    return socket
      .once("connect", onOpen)
      .on("data", onBytes)
      .on("error", onEnd)
      .once("close", () => onEnd());
  });
  return {
    write: (text) => void opening.then((socket) => socket.write(text)),
    destroy() {
      isOver = true;
      void opening.then((socket) => socket.destroy());
    },
  };
}

/**
 * The parts of Bun's own API that the supervisor uses. Node's modules do the same on every runtime, but on Bun they are a layer of
 * JavaScript of their own: with them the idle supervisor held 14 MB more, and each probe cost ten times the CPU.
 */
export interface Bun {
  spawn(argv: string[], options: BunSpawnOptions): BunProcess;
  serve(options: BunServeOptions): BunServer;
  connect(options: BunConnectOptions): Promise<BunSocket>;
}

export interface BunSpawnOptions {
  readonly stdio: readonly [stdin: "ignore" | "pipe", stdout: "ignore" | "pipe" | number, stderr: "ignore" | "pipe" | number];
  readonly detached: boolean;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
}

export interface BunProcess {
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly exitCode: number | null;
  readonly signalCode: NodeJS.Signals | null;
  readonly stdin?: { write(text: string): unknown; flush(): unknown; end(): unknown };
  readonly stdout?: ReadableStream<Uint8Array>;
  readonly stderr?: ReadableStream<Uint8Array>;
  unref(): void;
}

export interface BunServeOptions {
  readonly unix?: string;
  readonly hostname?: string;
  readonly port?: number;
  /** Seconds; 0 keeps idle connections, such as an event stream in a quiet hour. */
  readonly idleTimeout: number;
  readonly development: boolean;
  fetch(request: Request): Response | Promise<Response>;
}

export interface BunServer {
  readonly port: number | undefined;
  stop(closeActiveConnections: boolean): Promise<void>;
}

export interface BunConnectOptions {
  readonly hostname: string;
  readonly port: number;
  readonly socket: {
    open(socket: BunSocket): void;
    data(socket: BunSocket, bytes: Uint8Array): void;
    close(socket: BunSocket): void;
    error(socket: BunSocket, error: Error): void;
  };
}

export interface BunSocket {
  write(text: string): number;
  terminate(): void;
}

/** Bun's API, or undefined on another runtime. */
export function bunApi(): Bun | undefined {
  return (globalThis as { readonly Bun?: Bun }).Bun;
}

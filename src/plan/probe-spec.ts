/** How a service is asked whether it is ready. Durations in ms. */
export type ProbeSpec = ProbeTarget & {
  /** Pause between the end of one try and the start of the next. */
  readonly periodMs: number;
  /** One try may take this long. */
  readonly timeoutMs: number;
  /** The service counts as failed when it is not ready after this long; 0 = no limit. */
  readonly startupMs: number;
  /** So many passed tries in a row make it ready; default 1. */
  readonly successes?: number;
  /** Once ready: so many failed tries in a row, and it is not any more; default 3. */
  readonly failures?: number;
  /** Once ready: the pause between two tries; default 10 s. */
  readonly watchMs?: number;
  /** Report `service.waiting` every so many failed tries; 0 = never. */
  readonly logEvery: number;
};

export type ProbeTarget =
  | { readonly type: "http"; readonly url: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "exec"; readonly argv: readonly string[] }
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "log-line"; readonly pattern: string }
  /** The program writes a line to this descriptor. */
  | { readonly type: "fd"; readonly fd: 3 };

/** How a service that has been ready is asked whether it still lives. Durations in ms. */
export type LivenessSpec = Extract<ProbeTarget, { readonly type: "http" | "tcp" | "exec" }> & {
  readonly periodMs: number;
  readonly timeoutMs: number;
  /** So many failures in a row, and it is restarted. */
  readonly failures: number;
};

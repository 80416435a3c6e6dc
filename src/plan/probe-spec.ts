/** How a service is asked whether it is ready. Durations in ms. */
export type ProbeSpec = ProbeTarget & {
  /** Pause between the end of one try and the start of the next. */
  readonly periodMs: number;
  /** One try may take this long. */
  readonly timeoutMs: number;
  /** The service counts as failed when it is not ready after this long; 0 = no limit. */
  readonly startupMs: number;
  /** Report `service.waiting` every so many failed tries; 0 = never. */
  readonly logEvery: number;
};

export type ProbeTarget =
  | { readonly type: "http"; readonly url: string }
  | { readonly type: "tcp"; readonly host: string; readonly port: number }
  | { readonly type: "exec"; readonly argv: readonly string[] }
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "log-line"; readonly pattern: string };

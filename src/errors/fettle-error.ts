import { catalog, type CatalogEntry, type ErrorCode } from "./catalog.ts";

/** A place a person can open: a file with line and column (both from 1), a job field, a service name. */
export interface Where {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** The user's own line, drawn under the message, with `width` marked columns. */
  readonly source?: string;
  readonly width?: number;
  /** A path inside a value, such as `input.steps` or `engines.webui.port`. */
  readonly path?: string;
}

export interface Diagnostic {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly where?: Where;
}

export interface FettleErrorOptions {
  readonly hint?: string;
  readonly where?: Where;
  readonly details?: Record<string, unknown>;
  /** Further mistakes found in the same go; printed one after the other. */
  readonly others?: readonly Diagnostic[];
  readonly exitCode?: number;
  readonly cause?: unknown;
}

/** The one error users see. Anything else that is thrown is a bug (exit 70). */
export class FettleError extends Error {
  override readonly name = "FettleError";
  readonly code: ErrorCode;
  readonly hint: string;
  readonly where: Where | undefined;
  readonly details: Record<string, unknown>;
  readonly others: readonly Diagnostic[];
  readonly exitCode: number;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: FettleErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const entry: CatalogEntry = catalog[code];
    this.code = code;
    this.hint = options.hint ?? entry.hint;
    this.where = options.where;
    this.details = options.details ?? {};
    this.others = options.others ?? [];
    this.exitCode = options.exitCode ?? entry.exitCode;
    this.retryable = entry.retryable === true;
  }
}

/** The short reason of anything thrown, for "Cannot x: <reason>." (Node's "ENOENT: no such file…" keeps only its words). */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const code = (thrown as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "no such file or folder";
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "ENOSPC") return "no space left on the disk";
  if (code === "EADDRINUSE") return "the address is in use";
  if (code === "ECONNREFUSED") return "connection refused";
  // Bun's advice to whoever wrote the call is no reason.
  return thrown.message.replace(/ For more information, pass `verbose.*$/s, "").replace(/^[A-Z]{3,}: |, \w+( '.*')?$|\.$/g, "");
}

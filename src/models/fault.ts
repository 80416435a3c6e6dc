import { constants } from "node:os";
import type { ErrorCode } from "../errors/catalog.ts";
import { FettleError } from "../errors/fettle-error.ts";

export interface FaultOptions {
  readonly hint?: string | undefined;
  /** Another try may do better. */
  readonly passing?: boolean;
  readonly retryAfterMs?: number | undefined;
}

/** Why a file cannot be had; `reason` ends a sentence and holds no more of a URL than its host. Never leaves models/. */
export class Fault extends Error {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly hint: string | undefined;
  readonly passing: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, reason: string, { hint, passing = false, retryAfterMs }: FaultOptions = {}) {
    super(reason);
    this.code = code;
    this.reason = reason;
    this.hint = hint;
    this.passing = passing;
    this.retryAfterMs = retryAfterMs;
  }
}

/** "Cannot fetch NAME: REASON." */
export function toError(fault: Fault, name: string, details: Record<string, unknown> = {}): FettleError {
  return new FettleError(fault.code, `Cannot fetch ${name}: ${fault.reason}.`, {
    ...(fault.hint !== undefined && { hint: fault.hint }),
    details: { source: name, ...details },
  });
}

/** Deno leaves some of its errors without a code; the number stands in the text. */
export function codeOf(error: unknown): string | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  const number = Number(/\(os error (\d+)\)/.exec(message)?.[1]);
  return code ?? Object.entries(constants.errno).find(([, one]) => one === number)?.[0];
}

/** A file operation's failure in words, with the code it falls under. */
export function storeFault(error: unknown, path: string): Fault {
  const { message } = error as Error;
  const code = codeOf(error);
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new Fault("model.no-space", `${path} has no room for it (${code})`);
    case "EROFS":
      return new Fault("model.cannot-store", `${path} is read-only`);
    case "EACCES":
    case "EPERM":
      return new Fault("model.cannot-store", `${path} may not be written by this user`);
    case "ELOOP":
      return new Fault("model.cannot-store", `${path} is a loop of symbolic links`);
    case "ENOTDIR":
    case "EEXIST":
      return new Fault("model.cannot-store", `a part of ${path} is a file, not a folder`);
    default:
      return new Fault("model.cannot-store", `${path} cannot be written (${code ?? message})`);
  }
}

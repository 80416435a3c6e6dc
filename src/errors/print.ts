import { catalog } from "./catalog.ts";
import { type Diagnostic, FettleError, type Where } from "./fettle-error.ts";

export interface ErrorJson {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly where?: Where;
  readonly details?: Record<string, unknown>;
  readonly others?: readonly Diagnostic[];
}

/** The stable JSON form of an error, the same on every transport. */
export function errorToJson(error: FettleError): ErrorJson {
  return {
    code: error.code,
    message: error.message,
    hint: error.hint,
    ...(error.where && { where: error.where }),
    ...(Object.keys(error.details).length > 0 && { details: error.details }),
    ...(error.others.length > 0 && { others: error.others }),
  };
}

/** An error for a person on a terminal; `columns` is the terminal's width (80 when unknown). */
export function formatError(error: FettleError, columns = 80): string {
  const first: Diagnostic = { code: error.code, message: error.message, hint: error.hint, ...(error.where && { where: error.where }) };
  return [first, ...error.others].map((d) => formatDiagnostic(d, columns)).join("\n\n");
}

/** One mistake: the message with its code at the right, the user's line with the place marked, the hint. */
export function formatDiagnostic({ code, message, hint, where }: Diagnostic, columns = 80): string {
  const head = `✖ ${message}`;
  const gap = columns - head.length - code.length;
  const lines = [gap > 1 ? head + " ".repeat(gap) + code : `${head}  ${code}`];
  if (where) lines.push(...formatPlace(where));
  lines.push(`  ${hint ?? catalog[code].hint}`);
  return lines.join("\n");
}

function formatPlace({ file, line, column, source, width, path }: Where): string[] {
  const place = [file, line, column].filter((part) => part !== undefined).join(":");
  const lines = [`    ${[place, path && place ? `(${path})` : path].filter(Boolean).join(" ")}`];
  if (source !== undefined) {
    lines.push(`      ${source}`);
    if (column !== undefined) lines.push(`      ${" ".repeat(column - 1)}${"~".repeat(Math.max(1, width ?? 1))}`);
  }
  return lines;
}

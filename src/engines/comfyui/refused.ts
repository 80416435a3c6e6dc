/** The server's process is not there, or went away: each runtime words it in its own way. A time limit is no such sign. */
export function isRefused(error: unknown): boolean {
  const seen = [error, (error as { cause?: unknown } | undefined)?.cause];
  return seen.some((one) => {
    const { code, message, name } = (one ?? {}) as { code?: unknown; message?: unknown; name?: unknown };
    if (name === "TimeoutError" || name === "BadStatus") return false;
    return /refused|reset|closed|ECONN|EPIPE|NotReached|ConnectionLost|unable to connect|socket/i.test(`${String(code)} ${String(message)} ${String(name)}`);
  });
}

export function reasonIn(error: unknown): string {
  const { cause } = (error ?? {}) as { cause?: unknown };
  return (cause instanceof Error ? cause : error instanceof Error ? error : new Error(String(error))).message;
}

/**
 * The argv that starts this very program again: the compiled binary alone, or the runtime with src/main.ts.
 * A compiled Bun binary shows its script under /$bunfs, and `process.execPath` is then the binary itself.
 */
export function selfArgv(): string[] {
  const script = process.argv[1] ?? "";
  if (script.startsWith("/$bunfs/")) return [process.execPath];
  return process.versions["deno"] === undefined ? [process.execPath, script] : [process.execPath, "run", "-A", script];
}

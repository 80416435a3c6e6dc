// live/ owns the suite that runs on a real AUTOMATIC1111 webui. Takes: A1111_URL or A1111_DIR. Gives: the same jobs as elsewhere, on
// the real program, and what its answers have that the bundled engine's lack. `bun test` leaves it out (no file here is named
// .test.ts); scripts/live runs it. Must not bring any of the webui's code or models here: they are the user's.

/** The real engine: one that runs already, or one that fettle launches itself. */
export type Target =
  | { readonly type: "running"; readonly url: string }
  | { readonly type: "launch"; readonly directory: string; readonly python: string; readonly args: readonly string[] };

/** Without a GPU; A1111_ARGS takes their place. */
const cpuArgs = "--use-cpu all --no-half";

/** Undefined when neither variable is set: there is nothing to run on. */
export function readTarget(env: Readonly<Record<string, string | undefined>>): Target | undefined {
  const directory = env["A1111_DIR"];
  if (directory) return { type: "launch", directory, python: env["A1111_PYTHON"] || "python3", args: words(env["A1111_ARGS"] || cpuArgs) };
  const url = env["A1111_URL"];
  return url ? { type: "running", url: url.replace(/\/+$/, "") } : undefined;
}

/**
 * The webui's argument list: profile a1111-runpod's own without what needs a GPU or its image's model, then the user's.
 * `--server-name`, because without it `--nowebui` listens on every address of the machine.
 */
export function webuiArgs(port: number, more: readonly string[]): string[] {
  const seed = "--skip-python-version-check --skip-torch-cuda-test --skip-install --disable-safe-unpickle --api --nowebui --skip-version-check";
  return [...words(seed), "--no-hashing", "--no-download-sd-model", "--server-name", "127.0.0.1", "--port", String(port), ...more];
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

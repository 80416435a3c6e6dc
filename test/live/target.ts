// live/ owns the suites that run on a real AUTOMATIC1111 webui: a1111.ts drives fettle on it, same-answers.ts lays its answers beside
// the bundled engine's. Takes: A1111_URL or A1111_DIR. `bun test` leaves them out (nothing here is named .test.ts); scripts/live runs
// them. Must not bring any of the webui's code or models here: they are the user's.

/** The real engine: one that runs already, or one that fettle launches itself. */
export type Target =
  | { readonly type: "running"; readonly url: string }
  | { readonly type: "launch"; readonly directory: string; readonly python: string; readonly args: readonly string[] };

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws when neither variable is set: scripts/live skips before it comes to this. */
export function readTarget(env: Environment): Target {
  const directory = env["A1111_DIR"];
  if (directory) return { type: "launch", directory, python: env["A1111_PYTHON"] || "python3", args: readArgs(env) };
  const url = env["A1111_URL"];
  if (url) return { type: "running", url: url.replace(/\/+$/, "") };
  throw new Error("Set A1111_URL or A1111_DIR, and run scripts/live.");
}

/**
 * The webui's argument list: profile a1111-runpod's own without what needs its image or a GPU, then the user's. `--server-name`,
 * because without it `--nowebui` listens on every address of the machine. Nothing is written into the webui's own folder.
 */
function readArgs(env: Environment): string[] {
  const seed = "--skip-python-version-check --skip-torch-cuda-test --skip-install --disable-safe-unpickle --api --nowebui --skip-version-check";
  const device = env["A1111_ARGS"] || "--use-cpu all --no-half";
  const checkpoint = env["A1111_CHECKPOINT"] ? ["--ckpt", env["A1111_CHECKPOINT"]] : [];
  const data = env["A1111_DATA"] ? ["--data-dir", env["A1111_DATA"]] : [];
  return [...words(seed), "--no-hashing", "--no-download-sd-model", "--server-name", "127.0.0.1", ...words(device), ...checkpoint, ...data];
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

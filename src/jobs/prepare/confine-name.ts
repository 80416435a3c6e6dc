/** Longer than any file system takes. */
const longest = 255;

export interface ConfineOptions {
  /** Slashes may lead into folders below. Default false: one plain name. */
  readonly folders?: boolean;
}

/**
 * Why a file name from a job must not be used, or undefined when it stays where it belongs. For `filename_prefix`, an image's `name` and
 * the like: a name that passes can be joined to a folder and stays below it. (Names of Windows devices are ordinary files here.)
 */
export function confineName(name: string, { folders = false }: ConfineOptions = {}): string | undefined {
  if (name === "") return "it is empty";
  // oxlint-disable-next-line no-control-regex -- NUL ends a name for the system, the others break log lines
  if (/[\u0000-\u001f\u007f]/.test(name)) return "it holds a control character";
  if (name.includes("\\")) return "it holds a backslash";
  if (name.startsWith("/")) return "it is an absolute path";
  if (name.startsWith("~")) return "it begins with ~";
  const parts = name.split("/");
  if (parts.includes("..")) return "it leads out of its folder";
  if (!folders && parts.length > 1) return "it holds a slash";
  if (folders && parts.some((part) => part === "" || part === ".")) return "it holds an empty part";
  if (!folders && name === ".") return "it is no name";
  if (parts.some((part) => Buffer.byteLength(part) > longest) || name.length > 4096) return "it is too long";
  return undefined;
}

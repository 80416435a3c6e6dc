import { confineName } from "./confine-name.ts";
import { looksLikeImage } from "./image-text.ts";
import { type Body, invalid, type Invalid, isObject } from "./invalid.ts";

// What in an A1111 body makes the server write or read files of the job's choosing. With `jobs.allowPaths` all of it passes.

/** Options that name a place on the server's disk, besides those whose name says so. */
const placeOptions = new Set(["font", "temp_dir", "profiling_filename", "disabled_extensions", "disable_all_extensions"]);
/** `outdir_samples`, `directories_filename_pattern`, an extension's `control_net_models_path` … */
const placeName = /^outdir_|(?:^|_)(?:dir|dirs|directory|directories|path|paths|folder|filename)(?:_|$)/;
/** A1111 refuses these to its API by itself; some forks do not. */
const guards = new Set(["api_enable_requests", "api_forbid_local_requests", "api_useragent"]);
/** Files that the webui itself knows by name: a folder below its own may be part of it. */
const modelNames = ["refiner_checkpoint", "hr_checkpoint_name"];
/** Runs Python out of its arguments, when the server allows that. */
const codeScripts = new Set(["custom code"]);

/** The first thing in an A1111 request that reaches for the server's files, or undefined. */
export function findFileAccess(body: Body, at: string): Invalid | undefined {
  return inOverrides(body["override_settings"], `${at}.override_settings`) ?? inModelNames(body, at) ?? inScripts(body, at);
}

function inOverrides(overrides: unknown, at: string): Invalid | undefined {
  if (!isObject(overrides)) return undefined;
  for (const [key, value] of Object.entries(overrides)) {
    const path = `${at}.${key.slice(0, 80)}`;
    if (guards.has(key)) return refused(path, "it would lift the engine's guard of its own network");
    if (key === "profiling_enable" && value !== false) return refused(path, "it makes the engine write a file");
    // `save_to_dirs: true` is a choice, not a place.
    const holdsText = typeof value === "string" || Array.isArray(value) || isObject(value);
    if (placeOptions.has(key) || (holdsText && placeName.test(key))) return refused(path, "it names a place on the engine's disk");
    const fault = typeof value === "string" && isPath(value) ? "it is a path on the engine's disk" : undefined;
    if (fault !== undefined) return refused(path, fault);
  }
  return undefined;
}

function inModelNames(body: Body, at: string): Invalid | undefined {
  for (const key of modelNames) {
    const name = body[key];
    const fault = typeof name === "string" && name !== "" ? confineName(name, { folders: true }) : undefined;
    if (fault !== undefined) return refused(`${at}.${key}`, fault);
  }
  return undefined;
}

function inScripts(body: Body, at: string): Invalid | undefined {
  const script = body["script_name"];
  if (typeof script === "string" && codeScripts.has(script.trim().toLowerCase())) return refused(`${at}.script_name`, "this script runs code from the job");
  return inArguments(body["script_args"], `${at}.script_args`) ?? inArguments(body["alwayson_scripts"], `${at}.alwayson_scripts`);
}

/** A script takes whatever it is given; what has the form of a path is taken for one. */
function inArguments(value: unknown, at: string): Invalid | undefined {
  if (typeof value === "string") {
    if (isPath(value)) return refused(at, "it is a path on the engine's disk");
    // "Prompts from file or textbox" reads each line of its text as a command line, with these among its options.
    return /--outpath_(?:samples|grids)\b/.test(value) ? refused(at, "--outpath_… names a place on the engine's disk") : undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const fault = inArguments(inner, Array.isArray(value) ? `${at}[${key}]` : `${at}.${key.slice(0, 80)}`);
    if (fault) return fault;
  }
  return undefined;
}

const longestPath = 4096;

/** Absolute, in a home folder, or leading upwards; one word, so that prose and prompts are none. Base64 of a JPEG begins with a slash. */
function isPath(text: string): boolean {
  const word = text.trim();
  if (word.length > longestPath || /\s/.test(word) || /^https?:\/\//i.test(word)) return false;
  const reaches = /^(?:\/.|~|[A-Za-z]:[\\/]|\\\\|file:)/i.test(word) || /(?:^|[\\/])\.\.(?:[\\/]|$)/.test(word);
  return reaches && !looksLikeImage(word);
}

function refused(path: string, reason: string): Invalid {
  return invalid(path, `${reason}, which a job may not name here (jobs.allowPaths)`);
}

// models/ owns how a model's file comes to this machine: sources as people write them, downloads that survive a bad network and a killed
// process, a content-addressed cache that machines on one volume share. Takes: sources, settings, a signal. Gives: whole, checked files.
// Must not know recipes, engines or jobs. Tokens go to their own hosts only and never into an error, a log or a file.
import { createHash } from "node:crypto";
import { isSecretName } from "../log/mask.ts";

export type ModelSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "huggingface"; readonly repo: string; readonly file: string; readonly revision: string }
  | { readonly kind: "civitai"; readonly version: string; readonly query: string; readonly token?: string }
  | { readonly kind: "http"; readonly url: string };

export interface BadSource {
  readonly kind: "bad";
  /** Begins with "expected", as a schema's messages do. */
  readonly reason: string;
}

const civitaiHosts = /^(www\.)?civitai\.(com|red|green)$/;
const huggingfaceHosts = /^(www\.)?(huggingface\.co|hf\.co)$/;

/** Reads a source; a local path stays as it is (the caller knows the folder it begins at). Hub pages (`/blob/`, `?modelVersionId=`) become their files. */
export function parseModelSource(text: string): ModelSource | BadSource {
  const trimmed = text.trim();
  if (/^(hf|huggingface):/i.test(trimmed)) return parseHuggingface(trimmed.replace(/^\w+:(\/\/)?/, ""));
  if (/^civitai:/i.test(trimmed)) return parseCivitai(trimmed.replace(/^\w+:(\/\/)?/, ""));
  if (/^urn:air:/i.test(trimmed)) return parseCivitai(/:civitai:([^:]*)$/i.exec(trimmed)?.[1] ?? "");
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) return trimmed === "" ? bad("expected a file or a source") : { kind: "file", path: trimmed };
  const url = URL.parse(trimmed);
  if (!url || !["https:", "http:"].includes(url.protocol)) return bad("expected a local file, hf:, civitai: or an https URL");
  if (huggingfaceHosts.test(url.hostname)) return parseHubPage(url);
  if (civitaiHosts.test(url.hostname)) return parseCivitaiPage(url);
  url.hash = "";
  return { kind: "http", url: url.href };
}

/** `owner/repo/path/file@revision`, or with the revision behind the repository, as hf:// paths have it. */
function parseHuggingface(text: string): ModelSource | BadSource {
  const match = /^([\w.-]+\/[\w.-]+)(?:@([^/]+))?\/([^@]+)(?:@(.+))?$/.exec(text);
  const [, repo, early, file, late] = match ?? [];
  if (!repo || !file || !safePath(file) || (early && late)) return bad("expected hf:OWNER/REPO/FILE, with @REVISION behind it if not main");
  return { kind: "huggingface", repo, file, revision: decodeSafely(late ?? early ?? "main") };
}

function parseHubPage(url: URL): ModelSource | BadSource {
  const [, owner, name, verb, revision, ...file] = url.pathname.split("/").map(decodeSafely);
  if (!owner || !name || !["resolve", "blob", "raw"].includes(verb ?? "") || !revision || !safePath(file.join("/")))
    return bad("expected a Hugging Face URL of one file: https://huggingface.co/OWNER/REPO/resolve/REVISION/FILE");
  return { kind: "huggingface", repo: `${owner}/${name}`, file: file.join("/"), revision };
}

/** `VERSION`, `MODEL@VERSION`, both with `?type=…&format=…&size=…&fp=…` or `?fileId=…`. */
function parseCivitai(text: string): ModelSource | BadSource {
  const match = /^(?:\d+@)?(\d+)(?:\?(.*))?$/.exec(text);
  if (!match?.[1]) return bad("expected civitai:VERSION_ID, the number behind modelVersionId= in the page's address");
  return civitaiOf(match[1], new URLSearchParams(match[2] ?? ""));
}

function parseCivitaiPage(url: URL): ModelSource | BadSource {
  const version = /^\/api\/download\/models\/(\d+)$/.exec(url.pathname)?.[1] ?? url.searchParams.get("modelVersionId");
  if (!version || !/^\d+$/.test(version)) return bad("expected a Civitai URL that names a version: its download link, or a page with ?modelVersionId=");
  return civitaiOf(version, url.searchParams);
}

function civitaiOf(version: string, given: URLSearchParams): ModelSource {
  const token = given.get("token") ?? undefined;
  const kept = [...given].filter(([name]) => ["type", "format", "size", "fp", "fileId"].includes(name)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return { kind: "civitai", version, query: new URLSearchParams(kept).toString(), ...(token && { token }) };
}

/** The source in one line for people, files and comparison: without user, password, token or the signature of a signed URL. */
export function sourceId(source: ModelSource): string {
  switch (source.kind) {
    case "file":
      return source.path;
    case "huggingface":
      return `hf:${source.repo}/${source.file}@${source.revision}`;
    case "civitai":
      return `civitai:${source.version}${source.query && `?${source.query}`}`;
    case "http": {
      const url = new URL(source.url);
      const kept = [...url.searchParams].filter(([name]) => !isSecretName(name) && !signature.test(name));
      return `${url.origin}${url.pathname}${kept.length > 0 ? `?${new URLSearchParams(kept).toString()}` : ""}`;
    }
  }
}

const signature = /^(x-amz-|x-goog-|signature|sig$|expires|key-pair-id|policy|se$|sp$|sv$|sr$|st$)/i;

/** A short name for files of the cache. */
export const sourceKey = (source: ModelSource): string => createHash("sha256").update(sourceId(source)).digest("hex").slice(0, 32);

/** What was parsed names the same bytes for ever. */
export const isPinned = (source: ModelSource): boolean =>
  source.kind === "civitai" || (source.kind === "huggingface" && /^[0-9a-f]{40}$/.test(source.revision));

const bad = (reason: string): BadSource => ({ kind: "bad", reason });
const safePath = (path: string): boolean => path !== "" && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

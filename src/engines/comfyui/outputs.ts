import { extname } from "node:path";
import type { FileName, HistoryEntry } from "./server-state.ts";
import { isRecord } from "./workflow.ts";

/** A file that the workflow gave, before it is fetched. */
export interface OutputFile extends FileName {
  readonly node: string;
}

export interface Outputs {
  readonly files: readonly OutputFile[];
  /** Texts that nodes gave (`{"text": ["…"]}`). */
  readonly texts: readonly { readonly node: string; readonly text: string }[];
}

/**
 * What a finished prompt gave, whatever the key it stands under (`images`, `gifs`, `video`, `audio`, `3d`, `latents`, …): anything
 * that names a file. Temporary files (PreviewImage) count only when there is nothing else, as nobody asked to keep them; what
 * the caller brought (type input) never does.
 */
export function readOutputs({ outputs }: HistoryEntry): Outputs {
  const files: OutputFile[] = [];
  const texts: { node: string; text: string }[] = [];
  for (const [node, output] of Object.entries(outputs)) {
    if (!isRecord(output)) continue;
    for (const [key, values] of Object.entries(output)) {
      if (!Array.isArray(values)) continue;
      for (const value of values as readonly unknown[]) {
        const file = readFile(value);
        if (file && !files.some((other) => isSame(other, file))) files.push({ ...file, node });
        else if (key === "text" && typeof value === "string") texts.push({ node, text: value });
      }
    }
  }
  const made = files.filter(({ type }) => type !== "input");
  const kept = made.filter(({ type }) => type !== "temp");
  return { files: kept.length > 0 ? kept : made, texts };
}

function readFile(value: unknown): FileName | undefined {
  if (!isRecord(value) || typeof value["filename"] !== "string" || value["filename"] === "") return undefined;
  const { filename, subfolder, type } = value;
  return { filename: filename as string, subfolder: typeof subfolder === "string" ? subfolder : "", type: typeof type === "string" ? type : "output" };
}

function isSame(a: FileName, b: FileName): boolean {
  return a.filename === b.filename && a.subfolder === b.subfolder && a.type === b.type;
}

const mimes: Readonly<Record<string, string>> = {
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".webp": "image/webp",
  ".gif": "image/gif",
  ".avif": "image/avif",
  ".mp4": "video/mp4",
  ".webm": "video/webm",
  ".mov": "video/quicktime",
  ".mkv": "video/x-matroska",
  ".wav": "audio/wav",
  ".flac": "audio/flac",
  ".mp3": "audio/mpeg",
  ".opus": "audio/opus",
  ".ogg": "audio/ogg",
  ".glb": "model/gltf-binary",
  ".gltf": "model/gltf+json",
  ".obj": "model/obj",
  ".stl": "model/stl",
  ".ply": "model/ply",
  ".txt": "text/plain",
  ".json": "application/json",
  ".srt": "application/x-subrip",
  ".svg": "image/svg+xml",
};

/** The server's word on the type, unless it does not know it and the name does. */
export function mimeOf(filename: string, told: string): string {
  const isVague = told === "" || told === "application/octet-stream" || told === "text/plain";
  return (isVague ? mimes[extname(filename).toLowerCase()] : undefined) ?? (told || "application/octet-stream");
}

/** Images that results/ can check and convert; every other kind of file goes out as it is. */
export function isPicture(mime: string): boolean {
  return mime === "image/png" || mime === "image/jpeg" || mime === "image/webp";
}

import { Buffer } from "node:buffer";
import { basename } from "node:path";
import { Fault } from "./fault.ts";
import { type Opened, openUrl } from "./open-url.ts";
import type { Remote } from "./providers/provider.ts";
import { retrying } from "./retrying.ts";
import type { ModelSettings } from "./settings.ts";
import { headBytes, sniff } from "./sniff.ts";
import { statusFault } from "./status-fault.ts";

/** What a first small request tells. */
export interface Found {
  /** Undefined: the server does not say. */
  readonly sizeBytes: number | undefined;
  readonly sha256: string | undefined;
  /** A strong ETag, or else a date, for If-Range. */
  readonly validator: string | undefined;
  /** It can send parts. */
  readonly ranges: boolean;
  readonly fileName: string;
}

/** Asks for the first bytes: proves the token and the address before a long download, and finds size, hash and whether parts can be had. */
export function probe(remote: Remote, settings: ModelSettings, { signal }: { signal: AbortSignal }): Promise<Found> {
  return retrying(settings, { signal }, async () => {
    const headers = { range: `bytes=0-${headBytes - 1}` };
    using opened = await openUrl(remote.url, { authorize: (url) => remote.authorize(url), headers, stallMs: settings.stallMs, signal });
    const { status, response, url, hops } = opened;
    if (status === 416) throw new Fault("model.wrong-content", `${url.hostname} gives an empty file`);
    if (status !== 200 && status !== 206) throw remote.explain(status, url.hostname) ?? statusFault(opened);
    refusePacked(opened);
    const fileName = safeFileName(remote.fileName ?? disposition(response.headers["content-disposition"]) ?? lastPart(remote.url));
    const head = await readHead(opened);
    // A page that asks for a login comes with status 200 as often as not.
    sniff(head, fileName, url.hostname);
    const told = remote.told(hops);
    const sizeBytes = sizeOf(opened);
    const wanted = told.sizeBytes ?? remote.sizeBytes;
    if (wanted !== undefined && sizeBytes !== undefined && wanted !== sizeBytes)
      throw new Fault("model.wrong-length", `${url.hostname} offers ${sizeBytes} bytes, ${remote.url.hostname} says ${wanted}`);
    return { sizeBytes: sizeBytes ?? wanted, sha256: told.sha256 ?? remote.sha256, validator: validatorOf(opened), ranges: status === 206, fileName };
  });
}

export function refusePacked({ response, url }: Opened): void {
  const encoding = response.headers["content-encoding"] ?? "identity";
  if (encoding.toLowerCase() !== "identity") throw new Fault("model.wrong-content", `${url.hostname} sends it packed (${encoding.slice(0, 20)})`);
}

/** From `Content-Range: bytes 0-1023/7000`, or the length of a whole answer. */
function sizeOf({ status, response, url }: Opened): number | undefined {
  const text = status === 206 ? /^bytes \d+-\d+\/(\d+|\*)$/.exec(response.headers["content-range"] ?? "")?.[1] : response.headers["content-length"];
  if (status === 206 && text === undefined) throw new Fault("model.unreachable", `${url.hostname} sends a part without saying which`);
  const size = Number(text);
  return text !== undefined && Number.isSafeInteger(size) ? size : undefined;
}

export function validatorOf({ response }: Pick<Opened, "response">): string | undefined {
  const { etag, "last-modified": modified } = response.headers;
  return etag && !etag.startsWith("W/") ? etag : modified;
}

async function readHead({ response, stall, url }: Opened): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      stall.heard();
      chunks.push(chunk);
      size += chunk.length;
      if (size >= headBytes) break;
    }
  } catch {
    // What came before the break may tell enough: a page's first line does.
    if (stall.stalled) throw stall.fault();
    if (size === 0) throw new Fault("model.unreachable", `the connection to ${url.hostname} broke off`, { passing: true });
  }
  return Buffer.concat(chunks).subarray(0, headBytes);
}

function disposition(header: string | undefined): string | undefined {
  const encoded = /filename\*=(?:UTF-8|utf-8)''([^;]+)/.exec(header ?? "")?.[1];
  const plain = /filename="([^"]+)"|filename=([^;"]+)/.exec(header ?? "");
  try {
    return encoded ? decodeURIComponent(encoded) : (plain?.[1] ?? plain?.[2]?.trim());
  } catch {
    return undefined;
  }
}

const lastPart = ({ pathname }: URL): string => {
  try {
    return decodeURIComponent(basename(pathname));
  } catch {
    return basename(pathname);
  }
};

/** A name that a stranger chose, as a plain base name. */
export function safeFileName(name: string): string {
  const base = (name.split(/[/\\]/).at(-1) ?? "").replaceAll(/[^\w.+()=-]+/g, "_").replace(/^[.-]+/, "");
  const extension = /\.[A-Za-z0-9]{1,12}$/.exec(base)?.[0] ?? "";
  return base === "" || base === extension ? "model" : base.slice(0, base.length - extension.length).slice(0, 120) + extension;
}

import { request as requestHttp, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { type Address, pinTo, resolvePublic } from "../../util/public-address.ts";

export interface DownloadLimits {
  readonly maxBytes: number;
  /** From the first look-up to the last byte, redirects included. */
  readonly timeoutMs: number;
  /** Silence for so long ends it, however much time is left. */
  readonly silenceMs: number;
  readonly allowPrivate: boolean;
  readonly allowHosts: readonly string[];
}

/** `passing`: another try may do better. `reason` ends a sentence and holds no more of the URL than its host. */
export type Download = { readonly type: "bytes"; readonly bytes: Buffer } | { readonly type: "failed"; readonly reason: string; readonly passing: boolean };

const mostRedirects = 5;
const redirects = new Set([301, 302, 303, 307, 308]);

class Failed extends Error {
  readonly passing: boolean;
  constructor(reason: string, passing: boolean) {
    super(reason);
    this.passing = passing;
  }
}

/**
 * Fetches a file from a URL that a stranger chose. Each hop's name is looked up once, all its addresses must be public, and the
 * connection goes to these addresses and no others. Rejects only with the signal's reason.
 */
export async function download(text: string, limits: DownloadLimits, { signal }: { signal: AbortSignal }): Promise<Download> {
  const timeout = AbortSignal.timeout(limits.timeoutMs);
  const silence = new Silence(limits.silenceMs);
  try {
    return { type: "bytes", bytes: await follow(text.trim(), limits, { silence, signal: AbortSignal.any([signal, timeout, silence.signal]) }) };
  } catch (error) {
    signal.throwIfAborted();
    // A connection that was ended by us fails in one of many words; ours come first.
    if (timeout.aborted) return { type: "failed", reason: `it takes longer than ${limits.timeoutMs} ms (jobs.inputs.timeout)`, passing: false };
    if (silence.signal.aborted) return { type: "failed", reason: `its server is silent for ${limits.silenceMs} ms`, passing: true };
    if (error instanceof Failed) return { type: "failed", reason: error.message, passing: error.passing };
    return { type: "failed", ...connectionFault(error as NodeJS.ErrnoException) };
  } finally {
    silence.end();
  }
}

/** Aborts when nothing was heard for a while. */
class Silence {
  readonly #controller = new AbortController();
  readonly #ms: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ms: number) {
    this.#ms = ms;
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), this.#ms);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

interface Watch {
  readonly silence: Silence;
  readonly signal: AbortSignal;
}

async function follow(text: string, limits: DownloadLimits, watch: Watch): Promise<Buffer> {
  let url = parse(text);
  // The caller's own credentials, for the place they were given for and no other.
  const { origin } = url;
  const authorization =
    url.username || url.password ? `Basic ${Buffer.from(decodeURIComponent(`${url.username}:${url.password}`)).toString("base64")}` : undefined;
  for (let hop = 0; hop <= mostRedirects; hop++) {
    const resolution = await resolvePublic(url.hostname, { ...limits, signal: watch.signal });
    if (resolution.type !== "resolved") throw new Failed(`${url.hostname} cannot be asked: ${resolution.reason}`, resolution.type === "unresolved");
    const response = await ask(url, resolution.addresses, url.origin === origin ? authorization : undefined, watch.signal);
    watch.silence.heard();
    const status = response.statusCode ?? 0;
    if (!redirects.has(status)) return await readBody(response, url, limits, watch.silence);
    response.destroy();
    const { location } = response.headers;
    if (location === undefined) throw new Failed(`${url.hostname} redirects to nowhere`, false);
    url = parse(location, url);
  }
  throw new Failed(`it is redirected more than ${mostRedirects} times`, false);
}

function parse(text: string, base?: URL): URL {
  const url = URL.parse(text, base?.href);
  if (!url) throw new Failed(base ? `${base.hostname} redirects to something that is no URL` : "it is not a valid URL", false);
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new Failed("only http and https are allowed", false);
  return url;
}

function ask(url: URL, addresses: readonly [Address, ...Address[]], authorization: string | undefined, signal: AbortSignal): Promise<IncomingMessage> {
  const headers = { accept: "image/*", "accept-encoding": "identity", "user-agent": "fettle", ...(authorization && { authorization }) };
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const { hostname, port, protocol } = url;
  const options = { protocol, hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port, path: `${url.pathname}${url.search}` };
  return new Promise((resolve, reject) => {
    // A connection of its own: none that was opened for somebody else's name is used again, nor kept.
    const request = send({ ...options, method: "GET", agent: false, headers, lookup: pinTo(addresses), signal });
    request.once("response", resolve);
    request.on("error", reject);
    request.end();
  });
}

async function readBody(response: IncomingMessage, { hostname }: URL, { maxBytes }: DownloadLimits, silence: Silence): Promise<Buffer> {
  const fail = (reason: string, passing = false) => {
    response.destroy();
    return new Failed(reason, passing);
  };
  const status = response.statusCode ?? 0;
  if (status !== 200) throw fail(`${hostname} answers with HTTP ${status}`, status === 429 || status >= 500);
  const encoding = response.headers["content-encoding"] ?? "identity";
  // A few bytes can unpack to gigabytes; nobody packs pictures a second time, and we asked for it as it is.
  if (encoding.toLowerCase() !== "identity") throw fail(`${hostname} sends it packed (${encoding.slice(0, 20)})`);
  const declared = response.headers["content-length"] === undefined ? undefined : Number(response.headers["content-length"]);
  const tooLarge = `it is larger than ${maxBytes} bytes (jobs.inputs.maxBytes)`;
  if (declared !== undefined && declared > maxBytes) throw fail(tooLarge);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    silence.heard();
    size += chunk.length;
    if (size > maxBytes) throw fail(tooLarge);
    chunks.push(chunk);
  }
  if (!response.complete || (declared !== undefined && declared !== size)) throw new Failed(`the connection to ${hostname} broke off`, true);
  return Buffer.concat(chunks, size);
}

function connectionFault(error: NodeJS.ErrnoException): { reason: string; passing: boolean } {
  const code = error.code ?? "";
  if (/CERT|SELF_SIGNED|TLS|SSL|EPROTO/.test(code)) return { reason: `its certificate or TLS cannot be trusted (${code})`, passing: false };
  if (/^HPE_|PARSE/.test(code)) return { reason: "its server does not answer in HTTP", passing: false };
  return { reason: `the connection failed (${code || "it broke off"})`, passing: true };
}

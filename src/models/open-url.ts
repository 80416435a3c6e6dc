import { request as requestHttp, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { pinTo, resolvePublic } from "../util/public-address.ts";
import { Fault } from "./fault.ts";
import { Stall } from "./stall.ts";

const mostRedirects = 8;
const redirects = new Set([301, 302, 303, 307, 308]);
/** Civitai's front refuses clients that look like a script. */
const agent = "Mozilla/5.0 (compatible; fettle)";

export interface OpenOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** The credentials for a place; asked for each hop, until one hop leads to a place without. */
  authorize(url: URL): string | undefined;
  readonly stallMs: number;
  readonly signal: AbortSignal;
}

export interface Opened extends Disposable {
  readonly response: IncomingMessage;
  readonly status: number;
  /** Where the redirects ended. */
  readonly url: URL;
  /** Headers of each hop, the last included. */
  readonly hops: readonly IncomingHttpHeaders[];
  /** To be told of each byte; its silence ends the response. */
  readonly stall: Stall;
}

/**
 * Opens a URL through its redirects. Throws `Fault`, or the signal's reason.
 * - Credentials never follow a redirect to another place, nor come back when a later hop returns.
 * - https never becomes http, and a public host cannot lead to a private address; a private host that somebody named may.
 * - A status that is no success is given like one: the caller knows what it means there.
 *
 * node:http instead of fetch: Bun's fetch gives up after 360 s without a byte, and both forget nothing of what we must not send.
 */
export async function openUrl(start: URL, options: OpenOptions): Promise<Opened> {
  const stall = new Stall(options.stallMs, options.signal);
  try {
    return await follow(start, options, stall);
  } catch (error) {
    stall.end();
    options.signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    if (stall.stalled) throw stall.fault();
    throw connectionFault(error as NodeJS.ErrnoException, start.hostname);
  }
}

async function follow(start: URL, options: OpenOptions, stall: Stall): Promise<Opened> {
  const hops: IncomingHttpHeaders[] = [];
  let url = start;
  let trusted = true;
  let allowPrivate = true;
  for (let hop = 0; hop <= mostRedirects; hop++) {
    const resolution = await resolvePublic(url.hostname, { allowPrivate, signal: stall.signal });
    if (resolution.type === "unresolved")
      throw new Fault("model.unreachable", `${url.hostname} cannot be found (${resolution.reason})`, {
        passing: true,
        hint: "Check the network and the name.",
      });
    if (resolution.type === "refused") throw new Fault("model.refused-redirect", `it is redirected to ${url.hostname}, and ${resolution.reason}`);
    if (hop === 0) allowPrivate = (await resolvePublic(url.hostname, { signal: stall.signal })).type !== "resolved";
    const authorization: string | undefined = trusted ? options.authorize(url) : undefined;
    trusted &&= authorization !== undefined;
    const response = await ask(url, pinTo(resolution.addresses), { ...options.headers, ...(authorization && { authorization }) }, stall.signal);
    stall.heard();
    hops.push(response.headers);
    const status = response.statusCode ?? 0;
    if (!redirects.has(status)) return { response, status, url, hops, stall, [Symbol.dispose]: () => void (stall.end(), response.destroy()) };
    response.destroy();
    url = next(response.headers.location, url);
  }
  throw new Fault("model.refused-redirect", `it is redirected more than ${mostRedirects} times`);
}

function next(location: string | undefined, from: URL): URL {
  const url = location === undefined ? null : URL.parse(location, from.href);
  if (!url || !["http:", "https:"].includes(url.protocol))
    throw new Fault("model.refused-redirect", `${from.hostname} redirects to something that is no http address`);
  if (from.protocol === "https:" && url.protocol === "http:")
    throw new Fault("model.refused-redirect", `${from.hostname} redirects from https to plain http (${url.hostname})`);
  // A user and password in a redirect are nobody's: they were not given by whoever asked.
  url.username = url.password = "";
  return url;
}

function ask(url: URL, lookup: ReturnType<typeof pinTo>, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  const { hostname, port, protocol } = url;
  const all = { accept: "*/*", "accept-encoding": "identity", "user-agent": agent, ...headers };
  const target = { protocol, hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port, path: `${url.pathname}${url.search}` };
  return new Promise((resolve, reject) => {
    // A connection of its own, so that none outlives its credentials.
    const request = send({ ...target, method: "GET", agent: false, headers: all, lookup, signal });
    request.once("response", resolve);
    request.on("error", reject);
    request.end();
  });
}

export function connectionFault(error: NodeJS.ErrnoException, host: string): Fault {
  const code = error.code ?? "";
  if (/CERT|SELF_SIGNED|TLS|SSL|EPROTO/.test(code))
    return new Fault("model.unreachable", `the certificate of ${host} cannot be trusted (${code})`, {
      hint: "Name your proxy's certificates with NODE_EXTRA_CA_CERTS.",
    });
  if (/^HPE_|PARSE/.test(code)) return new Fault("model.unreachable", `${host} does not answer in HTTP`, { passing: true });
  return new Fault("model.unreachable", `the connection to ${host} failed (${code || "it broke off"})`, { passing: true });
}

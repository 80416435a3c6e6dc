import { lookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

export interface ResolvePublicOptions {
  /** Any address will do; the name is resolved all the same, so that the connection can be pinned. */
  readonly allowPrivate?: boolean;
  /** Hosts that may have private addresses: a name, an address, or `*.example.com` for every name below it. */
  readonly allowHosts?: readonly string[];
  readonly signal: AbortSignal;
}

/** `unresolved` may be different a moment later; `refused` will not. */
export type Resolution =
  | { readonly type: "resolved"; readonly addresses: readonly [Address, ...Address[]] }
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "unresolved"; readonly reason: string };

/**
 * The addresses of a host that somebody else named, when each of them is public. Connect with `pinTo(addresses)`: a second look-up
 * by the connection could be answered otherwise. Call again for each redirect. Rejects only with the signal's reason.
 */
export async function resolvePublic(host: string, { allowPrivate = false, allowHosts = [], signal }: ResolvePublicOptions): Promise<Resolution> {
  signal.throwIfAborted();
  const name = canonicalHost(host);
  if (name === undefined) return { type: "refused", reason: "it is not a host name" };
  const mayBePrivate = allowPrivate || isListed(name, allowHosts);
  const found = isIP(name) ? [name] : await addressesOf(name, signal);
  if (typeof found === "string") return { type: "unresolved", reason: found };
  const [first, ...others] = [...new Set(found)].map((address): Address => ({ address, family: isIP(address) === 6 ? 6 : 4 }));
  if (!first) return { type: "unresolved", reason: "it has no address" };
  // Loaded when somebody names a host: most workers start and end without.
  const { isPublic } = await import("./public-range.ts");
  // One bad address among good ones is how a name is made to lead inside now and then.
  if (!mayBePrivate && ![first, ...others].every(({ address }) => isPublic(address))) {
    return { type: "refused", reason: isIP(name) ? "it is not a public address" : "it leads to an address that is not public" };
  }
  return { type: "resolved", addresses: [first, ...others] };
}

/** A `lookup` for node:http, node:https and node:net that knows these addresses only. */
export function pinTo(addresses: readonly [Address, ...Address[]]): LookupFunction {
  return (_host, options, callback) => {
    if (options.all) callback(null, [...addresses]);
    else callback(null, addresses[0].address, addresses[0].family);
  };
}

/** As a URL would write it: `0x7f.1` and `2130706433` become 127.0.0.1; without brackets and a last dot. */
function canonicalHost(host: string): string | undefined {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  if (bare === "" || /[/\\?#@\s]/.test(bare)) return undefined;
  const text = `http://${bare.includes(":") ? `[${bare}]` : bare}/`;
  if (!URL.canParse(text)) return undefined;
  const { hostname, port } = new URL(text);
  const name = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  return name === "" || port !== "" ? undefined : name;
}

function isListed(name: string, allowed: readonly string[]): boolean {
  return allowed.some((entry) => {
    if (entry.startsWith("*.")) return name.endsWith(entry.slice(1).toLowerCase()) && name.length > entry.length - 1;
    return canonicalHost(entry) === name;
  });
}

/** Or why there is none. The system's resolver cannot be called off; its answer is then not waited for. */
async function addressesOf(name: string, signal: AbortSignal): Promise<readonly string[] | string> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const asked = lookup(name, { all: true, verbatim: true }).then(
      (found) => found.map(({ address }) => address),
      (error: NodeJS.ErrnoException) =>
        error.code === "ENOTFOUND" ? "there is no such name" : `its name cannot be looked up (${error.code ?? error.message})`,
    );
    return await Promise.race([asked, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

import { isIPv6 } from "node:net";

/** A listening socket of /proc/net/tcp or tcp6. */
export interface Listener {
  /** As people write it. */
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

const listening = "0A";

/** The listening rows of /proc/net/tcp or tcp6. */
export function parseListeners(table: string): Listener[] {
  return table.split("\n").flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state !== listening || local === undefined || inode === undefined) return [];
    const [address = "", port = ""] = local.split(":");
    return [{ address: parseAddress(address), port: Number.parseInt(port, 16), inode }];
  });
}

/** The kernel prints each 32-bit word of an address in the machine's own byte order: little-endian on all that fettle runs on. */
function parseAddress(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).reverse());
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join(".");
  const text = bytes.join("").toLowerCase();
  if (/^0{32}$/.test(text)) return "::";
  if (/^0{31}1$/.test(text)) return "::1";
  const mapped = /^0{20}ffff(.{8})$/.exec(text)?.[1];
  if (mapped !== undefined) return (mapped.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).join(".");
  return (text.match(/.{4}/g) ?? []).map((word) => word.replace(/^0{1,3}/, "")).join(":");
}

/** Can `host:port` not be listened on while this one is? A wildcard takes the port on all addresses; `::` usually IPv4's too. */
export function conflicts({ host, port }: { host: string; port: number }, { address, port: held }: Listener): boolean {
  if (port !== held) return false;
  const wanted = host === "localhost" ? "127.0.0.1" : host.replace(/^\[|\]$/g, "");
  if (address === "::" || wanted === "::") return true;
  if (isIPv6(wanted) !== isIPv6(address)) return false;
  return address === "0.0.0.0" || wanted === "0.0.0.0" || wanted === address || !/^[\d.:a-f]+$/i.test(wanted);
}

import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";

// A cloud's inner service on an address that looks public: Azure's host agent.
const inner = new Set(["168.63.129.16"]);

/** Whether an address (in any notation of IPv4 or IPv6) is reachable for everybody: not private, local, reserved, nor this machine's own. */
export function isPublic(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  let address = ipaddr.process(text);
  const nat64 = address instanceof ipaddr.IPv6 && address.match(ipaddr.IPv6.parse("64:ff9b::"), 96);
  // Behind NAT64 the last four bytes are where the connection really goes.
  if (nat64) address = ipaddr.fromByteArray(address.toByteArray().slice(12));
  if (address.range() !== "unicast") return false;
  // Of IPv6 only 2000::/3 has been given out; the rest is not routed, and ::/96 hides IPv4.
  if (address instanceof ipaddr.IPv6 && !address.match(ipaddr.IPv6.parse("2000::"), 3)) return false;
  const plain = address.toString();
  return !inner.has(plain) && !ownAddresses().has(plain);
}

function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map(({ address }) => (ipaddr.isValid(address) ? ipaddr.process(address).toString() : address)));
}

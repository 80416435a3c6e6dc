import { createHash, type Hash } from "node:crypto";
import { isObject } from "../envelope.ts";

/**
 * What a caller sent, in a few characters: two bodies have the same exactly when they are the same JSON, whatever the order of
 * their keys and their white space. The id is left out; it is what is compared by.
 */
export function fingerprintOf(envelope: { readonly input: unknown; readonly extra: Readonly<Record<string, unknown>> }): string {
  const hash = createHash("sha256");
  feed(hash, { ...envelope.extra, input: envelope.input });
  return hash.digest("base64url");
}

/** Canonical text, piece by piece: a large string goes in as it is, without a copy of the whole body. */
function feed(hash: Hash, value: unknown): void {
  if (typeof value === "string") hash.update(`s${value.length}:`).update(value);
  else if (Array.isArray(value)) {
    hash.update(`[${value.length}:`);
    for (const item of value) feed(hash, item);
  } else if (isObject(value)) {
    const keys = Object.keys(value).sort();
    hash.update(`{${keys.length}:`);
    for (const key of keys) {
      feed(hash, key);
      feed(hash, value[key]);
    }
  } else hash.update(`${String(value)};`);
}

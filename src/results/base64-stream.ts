import { ImageFault } from "./image/image-format.ts";

const longestPrefix = 128;

/**
 * Decodes base64 that arrives in pieces, after an optional `data:image/…;base64,`. Strict, unlike Buffer's own decoder, which
 * drops what it does not know: a foreign character, white space or missing padding would break the image for other readers.
 */
export class Base64Stream {
  #carry = "";
  #prefix: "unknown" | "none" | "within" = "unknown";

  /** The bytes that are complete so far. */
  push(piece: Buffer): Buffer {
    let text = this.#carry + piece.toString("latin1");
    if (this.#prefix !== "none") {
      const rest = this.#skipPrefix(text);
      if (rest === undefined) {
        this.#carry = text;
        return Buffer.alloc(0);
      }
      text = rest;
    }
    // The last group stays behind: only it may be padded.
    const whole = text.length > 4 ? text.length - (text.length % 4 || 4) : 0;
    this.#carry = text.slice(whole);
    return decode(text.slice(0, whole));
  }

  end(): Buffer {
    if (this.#prefix === "within" || (this.#prefix === "unknown" && this.#carry.length > 4)) throw new ImageFault("is a data: URL without base64");
    if (this.#carry.length % 4 !== 0) throw new ImageFault("is cut off: its base64 is no multiple of 4 characters");
    return decode(this.#carry, true);
  }

  #skipPrefix(text: string): string | undefined {
    if (this.#prefix === "unknown") {
      if (text.length < 5) return undefined;
      this.#prefix = text.startsWith("data:") ? "within" : "none";
    }
    if (this.#prefix === "none") return text;
    const comma = text.slice(0, longestPrefix).indexOf(",");
    if (comma < 0 && text.length < longestPrefix) return undefined;
    if (comma < 0 || !text.slice(0, comma).endsWith(";base64")) throw new ImageFault("is a data: URL without base64");
    this.#prefix = "none";
    return text.slice(comma + 1);
  }
}

function decode(text: string, mayBePadded = false): Buffer {
  const bytes = Buffer.from(text, "base64");
  const padding = mayBePadded ? (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0) : 0;
  // Buffer skips or stops at what is foreign, so the length tells; it also takes the URL alphabet, which others do not.
  if (bytes.length !== (text.length / 4) * 3 - padding || text.includes("-") || text.includes("_")) throw new ImageFault("is not base64");
  return bytes;
}

import { Utf8Check } from "./utf8-check.ts";

// Why not a library: with 15 MB in one string, stream-json takes 22-44 ms and gives 58,000 pieces of 256 characters, and
// @streamparser/json takes 25-43 ms and holds the string whole. This scan jumps from quote to quote with indexOf: about 2 ms,
// and the string comes in the pieces in which it arrived.

/** What the scan tells while it reads. `piece` is only valid during the call. */
export interface JsonListener {
  /** A string begins in the array under the watched top-level key; its opening quote is byte `at` of the text. */
  onString(index: number, at: number): void;
  /** Its next bytes, escapes resolved. */
  onPiece(piece: Buffer): void;
  /** Its closing quote is the byte before `end`. */
  onStringEnd(end: number): void;
}

export interface JsonScanOptions {
  /** The top-level key whose array of strings is handed out. */
  readonly watch: string;
  readonly listener: JsonListener;
  /** Top-level keys whose raw JSON text is kept when it is short enough. */
  readonly keep?: readonly string[];
  /** Default 64 KiB; a longer value is not kept. */
  readonly keepBytes?: number;
  /** Default 512. */
  readonly maxDepth?: number;
  /** The top may be any JSON value. Default false: an object. */
  readonly anyTop?: boolean;
}

/** The text is no JSON object of the expected form; the message ends a sentence that begins "the answer". */
export class JsonScanError extends Error {
  override readonly name = "JsonScanError";
}

// What may come next, outside of strings, numbers and literals.
const enum Expect {
  value,
  valueOrEnd,
  key,
  keyOrEnd,
  colon,
  commaOrEnd,
  nothing,
}
const enum Inside {
  none,
  string,
  escape,
  unicode,
  scalar,
}

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const simpleEscapes = new Map([
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 8],
  [0x66, 12],
  [0x6e, 10],
  [0x72, 13],
  [0x74, 9],
]);
const scalarText = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)$/;
const longestScalar = 1024;
const longestKey = 1024;

/**
 * Reads a JSON text chunk by chunk: well-formed as JSON.parse has it (and valid UTF-8), an object at the top, nesting within
 * bounds. Memory stays bounded whatever the text is. Throws `JsonScanError` from `push` or `end`.
 */
export class JsonScan {
  /** The raw JSON text of the kept top-level keys. */
  readonly kept = new Map<string, string>();
  /** How many strings the watched array held; undefined while the key was not seen. */
  watched: number | undefined;

  readonly #options: JsonScanOptions;
  readonly #isObject: boolean[] = [];
  readonly #maxDepth: number;
  #expect = Expect.value;
  #inside = Inside.none;
  #isKey = false;
  #scalar = "";
  #hex = "";
  #highSurrogate = 0;
  #key: Buffer[] | undefined;
  #keyBytes = 0;
  #topKey: string | undefined;
  #inWatched = false;
  #emitting = false;
  #keeping: { readonly key: string; readonly parts: Buffer[]; sizeBytes: number } | undefined;
  #keepFrom = -1;
  #offset = 0;
  readonly #utf8 = new Utf8Check();

  constructor(options: JsonScanOptions) {
    this.#options = options;
    this.#maxDepth = options.maxDepth ?? 512;
  }

  push(chunk: Buffer): void {
    if (!this.#utf8.push(chunk)) throw new JsonScanError("is not valid UTF-8");
    let at = 0;
    this.#keepFrom = this.#keeping ? 0 : -1;
    // The next backslash is looked for once and remembered, or many short strings would search the chunk again and again.
    let nextBackslash = -1;
    while (at < chunk.length) {
      if (this.#inside === Inside.string) {
        if (nextBackslash < at) {
          nextBackslash = chunk.indexOf(backslash, at);
          if (nextBackslash < 0) nextBackslash = chunk.length;
        }
        at = this.#string(chunk, at, nextBackslash);
      } else at = this.#inside === Inside.none ? this.#structure(chunk, at) : this.#small(chunk, at);
    }
    if (this.#keeping) this.#keepPart(chunk, chunk.length);
    this.#offset += chunk.length;
  }

  end(): void {
    if (this.#offset === 0) throw new JsonScanError("is empty");
    if (!this.#utf8.isWhole) throw new JsonScanError("breaks off within a character");
    // Only the end of the text ends a number or literal that is all of it.
    if (this.#inside === Inside.scalar && this.#isObject.length === 0) this.#endScalar(Buffer.alloc(0), 0);
    if (this.#inside !== Inside.none || this.#expect !== Expect.nothing) throw new JsonScanError(`breaks off after ${this.#offset} bytes`);
  }

  /** Bytes outside of strings. */
  #structure(chunk: Buffer, at: number): number {
    const byte = chunk[at] ?? 0;
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return at + 1;
    const expect = this.#expect;
    if (byte === quote && expect <= Expect.keyOrEnd) return this.#beginString(at);
    if (expect === Expect.value || expect === Expect.valueOrEnd) {
      if (byte === closeBracket && expect === Expect.valueOrEnd) return this.#close(chunk, at, false);
      this.#beginValue(at);
      if (byte === openBrace || byte === openBracket) return this.#open(at, byte === openBrace);
      this.#notTopLevel();
      this.#inside = Inside.scalar;
      this.#scalar = "";
      return at;
    }
    if (byte === closeBrace && (expect === Expect.keyOrEnd || (expect === Expect.commaOrEnd && this.#isObject.at(-1)))) return this.#close(chunk, at, true);
    if (byte === closeBracket && expect === Expect.commaOrEnd && this.#isObject.at(-1) === false) return this.#close(chunk, at, false);
    if (byte === 0x3a && expect === Expect.colon) this.#expect = Expect.value;
    else if (byte === 0x2c && expect === Expect.commaOrEnd) this.#expect = this.#isObject.at(-1) ? Expect.key : Expect.value;
    else throw this.#unexpected(byte, at);
    return at + 1;
  }

  #open(at: number, isObject: boolean): number {
    if (!isObject) this.#notTopLevel();
    if (this.#isObject.length >= this.#maxDepth) throw new JsonScanError(`nests deeper than ${this.#maxDepth} levels`);
    if (this.#inWatched && this.#isObject.length === 2) throw new JsonScanError(`has something else than a string in "${this.#options.watch}"`);
    this.#isObject.push(isObject);
    if (this.#isObject.length === 2 && this.#topKey === this.#options.watch) {
      if (isObject) throw new JsonScanError(`has an object instead of an array under "${this.#options.watch}"`);
      this.#inWatched = true;
      this.watched = 0;
    }
    this.#expect = isObject ? Expect.keyOrEnd : Expect.valueOrEnd;
    return at + 1;
  }

  #close(chunk: Buffer, at: number, isObject: boolean): number {
    if (this.#isObject.pop() !== isObject) throw this.#unexpected(chunk[at] ?? 0, at);
    if (this.#isObject.length === 1) this.#inWatched = false;
    this.#endValue(chunk, at + 1);
    return at + 1;
  }

  #beginString(at: number): number {
    this.#isKey = this.#expect === Expect.key || this.#expect === Expect.keyOrEnd;
    this.#inside = Inside.string;
    if (this.#isKey) {
      if (this.#isObject.length === 1) [this.#key, this.#keyBytes] = [[], 0];
    } else {
      this.#notTopLevel();
      this.#beginValue(at);
      if (this.#inWatched && this.#isObject.length === 2) {
        this.#emitting = true;
        this.#options.listener.onString(this.watched ?? 0, this.#offset + at);
      }
    }
    return at + 1;
  }

  /** From `at`, within a string: up to its quote, its next escape or the end of the chunk. */
  #string(chunk: Buffer, at: number, nextBackslash: number): number {
    let stop = at;
    let quoteAt = -1;
    // Most strings are short: a plain loop sees their end sooner than indexOf begins.
    const near = Math.min(chunk.length, at + 48);
    for (; stop < near; stop++) {
      const byte = chunk[stop] ?? 0;
      if (byte === quote || byte === backslash) break;
      if (byte < 0x20) throw this.#unexpected(byte, stop);
    }
    if (stop < near) {
      if (chunk[stop] === quote) quoteAt = stop;
    } else {
      quoteAt = chunk.indexOf(quote, stop);
      const end = Math.min(quoteAt < 0 ? chunk.length : quoteAt, nextBackslash);
      if (end !== quoteAt) quoteAt = -1;
      // What is handed out as base64 is checked there, byte for byte; the rest is checked for control characters here.
      if (!this.#emitting) for (let i = stop; i < end; i++) if ((chunk[i] ?? 0) < 0x20) throw this.#unexpected(chunk[i] ?? 0, i);
      stop = end;
    }
    if (stop > at) this.#piece(chunk.subarray(at, stop));
    if (quoteAt === stop) return this.#endString(chunk, stop + 1);
    if (stop < chunk.length) {
      this.#inside = Inside.escape;
      return stop + 1;
    }
    return stop;
  }

  #piece(bytes: Buffer): void {
    this.#flushSurrogate();
    if (this.#emitting) this.#options.listener.onPiece(bytes);
    else if (this.#isKey && this.#key && this.#keyBytes <= longestKey) {
      this.#key.push(Buffer.from(bytes));
      this.#keyBytes += bytes.length;
    }
  }

  #endString(chunk: Buffer, next: number): number {
    this.#inside = Inside.none;
    this.#flushSurrogate();
    if (this.#emitting) {
      this.#emitting = false;
      this.watched = (this.watched ?? 0) + 1;
      this.#options.listener.onStringEnd(this.#offset + next);
    }
    if (!this.#isKey) {
      this.#endValue(chunk, next);
      return next;
    }
    this.#expect = Expect.colon;
    if (this.#key) {
      this.#topKey = Buffer.concat(this.#key).toString("utf8");
      this.#key = undefined;
      if (this.#topKey === this.#options.watch && this.watched !== undefined) throw new JsonScanError(`has the key "${this.#topKey}" twice`);
    }
    return next;
  }

  /** Escapes, numbers and literals: few bytes, one at a time. */
  #small(chunk: Buffer, at: number): number {
    const byte = chunk[at] ?? 0;
    if (this.#inside === Inside.scalar) {
      const ends = byte === 0x2c || byte === closeBrace || byte === closeBracket || byte <= 0x20;
      if (ends) return this.#endScalar(chunk, at);
      this.#scalar += String.fromCharCode(byte);
      if (this.#scalar.length > longestScalar) throw new JsonScanError(`has a number of more than ${longestScalar} characters`);
      return at + 1;
    }
    if (this.#inside === Inside.escape) {
      const simple = simpleEscapes.get(byte);
      if (simple !== undefined) {
        this.#inside = Inside.string;
        this.#piece(Buffer.of(simple));
      } else if (byte === 0x75) [this.#inside, this.#hex] = [Inside.unicode, ""];
      else throw this.#unexpected(byte, at);
      return at + 1;
    }
    this.#hex += String.fromCharCode(byte);
    if (!/^[0-9a-fA-F]+$/.test(this.#hex)) throw this.#unexpected(byte, at);
    if (this.#hex.length === 4) this.#endUnicode();
    return at + 1;
  }

  #endUnicode(): void {
    this.#inside = Inside.string;
    const unit = Number.parseInt(this.#hex, 16);
    const high = this.#highSurrogate;
    if (high > 0 && unit >= 0xdc00 && unit <= 0xdfff) {
      this.#highSurrogate = 0;
      this.#piece(Buffer.from(String.fromCharCode(high, unit), "utf8"));
    } else if (unit >= 0xd800 && unit <= 0xdbff) {
      this.#flushSurrogate();
      this.#highSurrogate = unit;
    } else this.#piece(Buffer.from(String.fromCharCode(unit), "utf8"));
  }

  /** A first half without its second is no character; like every UTF-8 writer, put U+FFFD in its place. */
  #flushSurrogate(): void {
    if (this.#highSurrogate === 0) return;
    this.#highSurrogate = 0;
    this.#piece(Buffer.from("\ufffd", "utf8"));
  }

  #endScalar(chunk: Buffer, at: number): number {
    if (!scalarText.test(this.#scalar))
      throw new JsonScanError(`has "${this.#scalar.slice(0, 20)}" at byte ${this.#offset + at - this.#scalar.length}, which is no JSON value`);
    if (this.#inWatched && this.#isObject.length === 2)
      throw new JsonScanError(`has ${this.#scalar.slice(0, 20)} instead of a string in "${this.#options.watch}"`);
    this.#inside = Inside.none;
    this.#endValue(chunk, at);
    return at;
  }

  #notTopLevel(): void {
    if (this.#isObject.length === 0 && !this.#options.anyTop) throw new JsonScanError("is no JSON object");
  }

  #beginValue(at: number): void {
    if (this.#isObject.length !== 1 || this.#topKey === undefined || !this.#options.keep?.includes(this.#topKey)) return;
    this.#keeping = { key: this.#topKey, parts: [], sizeBytes: 0 };
    this.#keepFrom = at;
  }

  /** A value ended just before `next`. */
  #endValue(chunk: Buffer, next: number): void {
    const depth = this.#isObject.length;
    this.#expect = depth === 0 ? Expect.nothing : Expect.commaOrEnd;
    if (depth !== 1) return;
    if (this.#keeping) this.#keepPart(chunk, next);
    if (this.#keeping) this.kept.set(this.#keeping.key, Buffer.concat(this.#keeping.parts).toString("utf8"));
    [this.#keeping, this.#topKey] = [undefined, undefined];
  }

  #keepPart(chunk: Buffer, end: number): void {
    if (!this.#keeping) return;
    const part = chunk.subarray(Math.max(0, this.#keepFrom), end);
    this.#keeping.sizeBytes += part.length;
    if (this.#keeping.sizeBytes > (this.#options.keepBytes ?? 65_536)) this.#keeping = undefined;
    else this.#keeping.parts.push(Buffer.from(part));
  }

  #unexpected(byte: number, at: number): JsonScanError {
    const shown = byte > 0x20 && byte < 0x7f ? `"${String.fromCharCode(byte)}"` : `the byte 0x${byte.toString(16).padStart(2, "0")}`;
    return new JsonScanError(`has ${shown} at byte ${this.#offset + at}, where JSON allows none`);
  }
}

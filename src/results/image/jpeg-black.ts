import { ImageFault } from "./image-format.ts";

// Why not a library: the kept decoders are WebAssembly whose bytes do not embed alike in the compiled binary and in Deno, and they
// decode in one go, which holds the loop for some 10 ms a megapixel. Here only one question is asked, and the first block that
// shows anything answers it, so an ordinary picture costs a few bytes of reading.

/** A canonical Huffman table: for each code length the first code, how many there are, and where their values begin. */
interface Huffman {
  readonly counts: Uint8Array;
  readonly values: Uint8Array;
}

interface Component {
  readonly id: number;
  /** Blocks of this component in one unit of an interleaved scan. */
  readonly blocks: number;
  readonly quantTable: number;
}

interface ScanComponent extends Component {
  readonly dc: Huffman;
  readonly ac: Huffman;
  readonly isColourDifference: boolean;
}

const outOfBits = -1;

/**
 * Whether a baseline JPEG is black all over. Takes its segments and the unescaped bytes of its scan; gives undefined for what it
 * does not read (progressive, arithmetic, CMYK, several scans).
 *
 * A block is black when its brightness, DC × quantiser ÷ 8 + 128, is at most half a step above 0 and nothing else is in it.
 */
export class JpegBlack {
  readonly #huffman = new Map<number, Huffman>();
  readonly #quantDc = new Map<number, number>();
  #components: readonly Component[] = [];
  #scan: readonly ScanComponent[] | undefined;
  #isRgb = false;
  #scans = 0;
  #answer: "black so far" | "not black" | "unknown" = "black so far";
  #bytes: Buffer = Buffer.alloc(0);
  #bit = 0;
  #predicted: number[] = [];

  segment(marker: number, body: Buffer): void {
    if (marker === 0xdb) this.#readQuantisers(body);
    else if (marker === 0xc4) this.#readHuffman(body);
    else if (marker === 0xee) this.#isRgb = body.toString("latin1", 0, 5) === "Adobe" && body[11] === 0;
    else if (marker === 0xda) this.#beginScan(body);
    else if (marker === 0xc0 || marker === 0xc1) this.#readFrame(body);
    else this.#answer = "unknown";
  }

  /** The next bytes of the scan. */
  pixels(part: Buffer): void {
    if (this.#answer !== "black so far" || !this.#scan) return;
    this.#bytes = this.#bytes.length === 0 ? part : Buffer.concat([this.#bytes, part]);
    while (this.#answer === "black so far" && this.#unit(this.#scan));
    const used = this.#bit >> 3;
    this.#bytes = Buffer.from(this.#bytes.subarray(used));
    this.#bit -= used * 8;
  }

  /** A restart point: predictions begin anew, and the last byte's spare bits mean nothing. */
  restart(): void {
    this.#bytes = Buffer.alloc(0);
    this.#bit = 0;
    this.#predicted = [];
  }

  end(): boolean | undefined {
    if (this.#answer === "unknown" || !this.#scan) return undefined;
    return this.#answer === "black so far";
  }

  /** Reads one unit (all blocks of all components); false when it is not all there yet, and then nothing was taken. */
  #unit(scan: readonly ScanComponent[]): boolean {
    const before = { bit: this.#bit, predicted: [...this.#predicted] };
    for (const [index, component] of scan.entries()) {
      for (let block = 0; block < (scan.length === 1 ? 1 : component.blocks); block++) {
        const seen = this.#block(component, index);
        if (seen === "not black") this.#answer = "not black";
        if (seen === "black") continue;
        if (seen === "incomplete") [this.#bit, this.#predicted] = [before.bit, before.predicted];
        return false;
      }
    }
    return true;
  }

  #block(component: ScanComponent, index: number): "black" | "not black" | "incomplete" {
    const size = this.#symbol(component.dc);
    if (size === outOfBits) return "incomplete";
    const difference = this.#number(size);
    if (difference === undefined) return "incomplete";
    const dc = (this.#predicted[index] ?? 0) + difference;
    this.#predicted[index] = dc;
    const level = (dc * (this.#quantDc.get(component.quantTable) ?? 1)) / 8;
    if (component.isColourDifference ? Math.abs(level) > 0.5 : level + 128 > 0.5) return "not black";
    const ac = this.#symbol(component.ac);
    if (ac === outOfBits) return "incomplete";
    // Anything but "no more in this block" is some detail.
    return ac === 0 ? "black" : "not black";
  }

  #symbol({ counts, values }: Huffman): number {
    let code = 0;
    let first = 0;
    let at = 0;
    for (let length = 0; length < 16; length++) {
      const bit = this.#take();
      if (bit === outOfBits) return outOfBits;
      code = code * 2 + bit;
      const count = counts[length] ?? 0;
      if (code - first < count) return values[at + code - first] ?? 0;
      at += count;
      first = (first + count) * 2;
    }
    throw new ImageFault("is damaged: its pixels cannot be unpacked");
  }

  /** `size` bits as JPEG writes a signed number. */
  #number(size: number): number | undefined {
    let value = 0;
    for (let i = 0; i < size; i++) {
      const bit = this.#take();
      if (bit === outOfBits) return undefined;
      value = value * 2 + bit;
    }
    return size > 0 && value < 2 ** (size - 1) ? value - 2 ** size + 1 : value;
  }

  #take(): number {
    const byte = this.#bytes[this.#bit >> 3];
    if (byte === undefined) return outOfBits;
    return (byte >> (7 - (this.#bit++ & 7))) & 1;
  }

  #readQuantisers(body: Buffer): void {
    for (let at = 0; at < body.length;) {
      const head = body[at] ?? 0;
      const wide = head >> 4 > 0;
      this.#quantDc.set(head & 15, wide ? (body[at + 1] ?? 0) * 256 + (body[at + 2] ?? 0) : (body[at + 1] ?? 1));
      at += 1 + (wide ? 128 : 64);
    }
  }

  #readHuffman(body: Buffer): void {
    for (let at = 0; at + 17 <= body.length;) {
      const counts = Uint8Array.from(body.subarray(at + 1, at + 17));
      const total = counts.reduce((sum, count) => sum + count, 0);
      this.#huffman.set(body[at] ?? 0, { counts, values: Uint8Array.from(body.subarray(at + 17, at + 17 + total)) });
      at += 17 + total;
    }
  }

  #readFrame(body: Buffer): void {
    const count = body[5] ?? 0;
    if (body[0] !== 8 || (count !== 1 && count !== 3) || body.length < 6 + count * 3) this.#answer = "unknown";
    this.#components = Array.from({ length: count }, (_, index) => {
      const [id = 0, sampling = 0x11, quantTable = 0] = body.subarray(6 + index * 3);
      return { id, blocks: (sampling >> 4) * (sampling & 15), quantTable };
    });
  }

  #beginScan(body: Buffer): void {
    this.#scans += 1;
    const count = body[0] ?? 0;
    if (this.#scans > 1 || count !== this.#components.length) this.#answer = "unknown";
    if (this.#answer !== "black so far") return;
    const scan: ScanComponent[] = [];
    for (let index = 0; index < count; index++) {
      const component = this.#components.find(({ id }) => id === body[1 + index * 2]);
      const tables = body[2 + index * 2] ?? 0;
      const [dc, ac] = [this.#huffman.get(tables >> 4), this.#huffman.get(16 + (tables & 15))];
      if (!component || !dc || !ac) throw new ImageFault("is damaged: a table that its pixels need is missing");
      scan.push({ ...component, dc, ac, isColourDifference: index > 0 && !this.#isRgb });
    }
    this.#scan = scan;
  }
}

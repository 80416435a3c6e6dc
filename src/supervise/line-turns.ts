const newline = 0x0a;
const lineEnd = Buffer.from("\n");

/** A line in the middle of which a stream falls silent holds the others back no longer than this, and no more of their bytes than that. */
const patienceMs = 200;
const maxHeldBytes = 1 << 20;

/** Lets several streams write into one place, line by line: while one is in the middle of a line (longer than a block), the others wait for its end. */
export class LineTurns {
  readonly #give: (block: Buffer) => void;
  /** Who is in the middle of a line; `nobody`: what was written last is a line without an end, whose stream has ended. */
  #open: object | undefined;
  #held: { readonly block: Buffer; readonly stream: object }[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #released = Promise.withResolvers<void>();

  constructor(give: (block: Buffer) => void) {
    this.#give = give;
  }

  /** False: it is held, and its stream should wait until `settled`. */
  take(block: Buffer, stream: object): boolean {
    if (this.#open === nobody) this.#breakLine();
    if (this.#open !== undefined && this.#open !== stream) {
      this.#held.push({ block, stream });
      this.#heldBytes += block.length;
      if (this.#heldBytes > maxHeldBytes) this.#breakLine();
      else this.#timer ??= setTimeout(() => this.#breakLine(), patienceMs);
      return false;
    }
    this.#give(block);
    this.#open = block.at(-1) === newline ? undefined : stream;
    if (this.#open === undefined && this.#held.length > 0) this.#release();
    return true;
  }

  end(stream: object): void {
    if (this.#open !== stream) return;
    this.#open = nobody;
    if (this.#held.length > 0) this.#breakLine();
  }

  /** Nobody waits for anybody. */
  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** No line goes on with what comes next. */
  get isBetweenLines(): boolean {
    return this.#open === undefined || this.#open === nobody;
  }

  /** What comes next begins in another place, where no line has begun. */
  forget(): void {
    if (this.#open === nobody) this.#open = undefined;
  }

  /** Resolves soon: when nothing of that stream (of any, without one) waits for anybody. */
  async settled(stream?: object): Promise<void> {
    while (this.#held.some((one) => stream === undefined || one.stream === stream)) await this.#released.promise;
  }

  #breakLine(): void {
    if (this.#open !== undefined) this.#give(lineEnd);
    this.#open = undefined;
    this.#release();
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    for (const { block, stream } of held) this.take(block, stream);
    this.#released.resolve();
    this.#released = Promise.withResolvers<void>();
  }
}

const nobody = {};

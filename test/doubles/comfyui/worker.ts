/** The one thread that runs prompts: its queue, cache and history, and its events in the order recorded from the real program. */
import { Buffer } from "node:buffer";
import type { Facts } from "../facts.ts";
import { makePng } from "../../fixtures/png.ts";
import type { Prompt, PromptNode } from "./validate.ts";
import { reach } from "./validate.ts";

export interface Queued {
  readonly number: number;
  readonly id: string;
  readonly prompt: Prompt;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly outputs: readonly string[];
}

export interface StoredFile {
  readonly bytes: () => Iterable<Uint8Array>;
  readonly sizeBytes: number;
  readonly mime: string;
}

type Fields = Readonly<Record<string, unknown>>;

export interface WorkerParts {
  readonly facts: Facts;
  /** To one client, or to all. */
  readonly tell: (clientId: string | undefined, type: string, data: Fields) => void;
  readonly picture: (clientId: string | undefined, bytes: Uint8Array, where: { promptId: string; node: string; isWhole: boolean }) => void;
}

class Interrupted extends Error {}

class NodeFailure extends Error {
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(message);
    this.kind = kind;
  }
}

export class Worker {
  readonly pending: Queued[] = [];
  readonly history = new Map<string, Fields>();
  readonly files = new Map<string, StoredFile>();
  /** How often each prompt was executed. */
  readonly executions = new Map<string, number>();
  running: Queued | undefined;
  freed = 0;
  readonly #parts: WorkerParts;
  #cache = new Map<string, Fields>();
  #isInterrupted = false;
  #held: (() => void) | undefined;
  #interruptHeld: (() => void) | undefined;
  #life = 0;
  #count = 0;
  #isAwake = false;

  constructor(parts: WorkerParts) {
    this.#parts = parts;
  }

  get remaining(): number {
    return this.pending.length + (this.running ? 1 : 0);
  }

  /** A prompt stands in a Hold node. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  enqueue(item: Queued): void {
    this.pending.push(item);
    this.#status();
    if (this.#isAwake) return;
    this.#isAwake = true;
    setImmediate(() => void this.#work());
  }

  interrupt(): void {
    this.#isInterrupted = true;
    this.#interruptHeld?.();
  }

  release(): void {
    this.#held?.();
  }

  free(): void {
    this.freed += 1;
    this.#cache = new Map();
  }

  /** A new process: what was running, waiting and remembered is gone. */
  restart(): void {
    this.#life += 1;
    this.pending.length = 0;
    this.running = undefined;
    this.history.clear();
    this.#cache = new Map();
    this.#held?.();
  }

  #status(): void {
    this.#parts.tell(undefined, "status", { status: { exec_info: { queue_remaining: this.remaining } } });
    this.#parts.facts.changed();
  }

  async #work(): Promise<void> {
    for (;;) {
      this.pending.sort((a, b) => a.number - b.number);
      const item = this.pending.shift();
      if (!item) break;
      const life = this.#life;
      this.running = item;
      this.#isInterrupted = false;
      this.executions.set(item.id, (this.executions.get(item.id) ?? 0) + 1);
      this.#status();
      const entry = await this.#execute(item);
      if (life !== this.#life) continue;
      this.running = undefined;
      this.history.set(item.id, entry);
      this.#status();
      this.#parts.tell(clientOf(item), "executing", { node: null, prompt_id: item.id });
    }
    this.#isAwake = false;
  }

  async #execute(item: Queued): Promise<Fields> {
    const { id, prompt } = item;
    const messages: [string, Fields][] = [];
    const say = (type: string, fields: Fields, isKept = false) => {
      const data = { ...fields, prompt_id: id, ...(isKept && { timestamp: Date.now() }) };
      if (isKept) messages.push([type, data]);
      this.#parts.tell(clientOf(item), type, data);
    };
    const outputs: Record<string, Fields> = {};
    const life = this.#life;
    say("execution_start", {}, true);
    const order = [...new Set(item.outputs.flatMap((output) => reach(output, prompt)))];
    const cached = order.filter((node) => this.#cache.has(this.#sign(node, prompt)));
    say("execution_cached", { nodes: cached }, true);
    let current = "";
    try {
      for (const node of order) {
        current = node;
        const sign = this.#sign(node, prompt);
        let made = this.#cache.get(sign);
        if (!made) {
          if (this.#isInterrupted) throw new Interrupted();
          say("progress_state", { nodes: { [node]: { value: 0, max: 1, state: "running", node_id: node } } });
          say("executing", { node, display_node: node });
          made = await this.#run(node, prompt[node] ?? {}, item, say);
          if (prompt[node]?.class_type !== "SaveImageWebsocket") this.#cache.set(sign, made);
        }
        if (Object.keys(made).length === 0) continue;
        outputs[node] = made;
        say("executed", { node, display_node: node, output: made });
      }
      say("execution_success", {}, true);
      return { prompt: [], outputs, status: { status_str: "success", completed: true, messages }, meta: {} };
    } catch (error) {
      if (life !== this.#life) return {};
      const about = { node_id: current, node_type: prompt[current]?.class_type, executed: [] };
      if (error instanceof Interrupted) say("execution_interrupted", about, true);
      else {
        const { kind, message } = error as NodeFailure;
        say(
          "execution_error",
          { ...about, exception_message: message, exception_type: kind, traceback: ["  File …\n"], current_inputs: {}, current_outputs: [] },
          true,
        );
      }
      return { prompt: [], outputs, status: { status_str: "error", completed: false, messages }, meta: {} };
    }
  }

  async #run(node: string, { class_type: name, inputs = {} }: PromptNode, item: Queued, say: (type: string, fields: Fields) => void): Promise<Fields> {
    switch (name) {
      case "KSampler": {
        const steps = Number(inputs["steps"]);
        for (let step = 1; step <= steps; step++) {
          // Time for what came over HTTP, as between two real steps.
          await new Promise((resolve) => setImmediate(resolve));
          if (this.#isInterrupted) throw new Interrupted();
          say("progress", { value: step, max: steps, node });
          if (item.extra["preview_method"] === "auto")
            this.#parts.picture(clientOf(item), Buffer.from([0xff, 0xd8, step]), { promptId: item.id, node, isWhole: false });
        }
        return {};
      }
      case "Hold": {
        await new Promise<void>((resolve, reject) => {
          this.#held = resolve;
          if (inputs["blocking"] !== true) this.#interruptHeld = () => reject(new Interrupted());
          if (this.#isInterrupted) this.#interruptHeld?.();
          this.#parts.facts.changed();
        }).finally(() => (this.#held = this.#interruptHeld = undefined));
        return {};
      }
      case "Fail":
        throw new NodeFailure(String(inputs["kind"]), String(inputs["message"]));
      case "SaveImage":
        return { images: [this.#save(String(inputs["filename_prefix"]), "output", ".png", png())] };
      case "PreviewImage":
        return { images: [this.#save("ComfyUI_temp", "temp", ".png", png())] };
      case "SaveImageWebsocket":
        say("progress", { value: 1, max: 1, node });
        this.#parts.picture(clientOf(item), png(), { promptId: item.id, node, isWhole: true });
        return {};
      case "SaveVideo":
        return { images: [this.#saveLarge(String(inputs["filename_prefix"]), Number(inputs["bytes"]))], animated: [true] };
      case "ShowText":
        return { text: [String(inputs["text"])] };
      default:
        return {};
    }
  }

  #save(prefix: string, type: string, end: string, bytes: Uint8Array): Fields {
    const at = prefix.lastIndexOf("/");
    const file = {
      filename: `${prefix.slice(at + 1)}_${String(++this.#count).padStart(5, "0")}_${end}`,
      subfolder: at === -1 ? "" : prefix.slice(0, at),
      type,
    };
    this.files.set(keyOf(file), { bytes: () => [bytes], sizeBytes: bytes.length, mime: "image/png" });
    return file;
  }

  #saveLarge(prefix: string, sizeBytes: number): Fields {
    const file = this.#save(prefix, "output", ".mp4", new Uint8Array());
    const chunk = new Uint8Array(65_536).fill(7);
    const bytes = function* (): Iterable<Uint8Array> {
      for (let left = sizeBytes; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
    };
    this.files.set(keyOf(file), { bytes, sizeBytes, mime: "video/mp4" });
    return file;
  }

  /** What a node's result depends on. */
  #sign(node: string, prompt: Prompt): string {
    const { class_type: name, inputs = {} } = prompt[node] ?? {};
    const values = Object.entries(inputs).map(([input, value]) => [input, Array.isArray(value) ? this.#sign(String(value[0]), prompt) : value]);
    return JSON.stringify([name, values]);
  }
}

export function keyOf(file: Fields): string {
  return `${String(file["type"])}/${String(file["subfolder"])}/${String(file["filename"])}`;
}

function clientOf({ extra }: Queued): string | undefined {
  return typeof extra["client_id"] === "string" ? extra["client_id"] : "";
}

function png(): Buffer {
  return makePng({ width: 8, height: 8, fill: (at) => (at * 37) & 0xff });
}

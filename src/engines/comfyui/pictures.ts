import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FetchedFile } from "./answer.ts";
import type { Hint } from "./frames.ts";
import type { Workflow } from "./workflow.ts";

const overSocket = "SaveImageWebsocket";

export function sendsPictures(workflow: Workflow): boolean {
  return Object.values(workflow).some((node) => node.class_type === overSocket);
}

/** The same pictures as files among the server's temporary ones, for when the socket cannot be relied on. */
export function withoutSocket(workflow: Workflow): Workflow {
  const nodes = Object.entries(workflow);
  return Object.fromEntries(nodes.map(([id, node]) => [id, node.class_type === overSocket ? { ...node, class_type: "PreviewImage" } : node]));
}

/** Keeps what SaveImageWebsocket sends, which no history names. On disk at once: a batch of large pictures is not held in memory. */
export class Pictures {
  readonly #dir: string;
  readonly #nodes: ReadonlyMap<string, { wanted: number; came: number }>;
  readonly #saved: Promise<FetchedFile>[] = [];

  constructor(workflow: Workflow, dir: string) {
    this.#dir = dir;
    const senders = Object.entries(workflow).filter(([, node]) => node.class_type === overSocket);
    this.#nodes = new Map(senders.map(([id]) => [id, { wanted: 1, came: 0 }]));
  }

  hear(hint: Hint): void {
    const node = "node" in hint && typeof hint.node === "string" ? hint.node : "";
    const sender = this.#nodes.get(node);
    if (!sender) return;
    // It counts its pictures as steps.
    if (hint.type === "progress" && hint.max > 0) sender.wanted = hint.max;
    if (hint.type !== "picture" || !hint.isWhole) return;
    sender.came += 1;
    this.#saved.push(this.#save(node, hint.bytes, this.#saved.length + 1));
  }

  /** Some did not come: frames were lost. */
  get isIncomplete(): boolean {
    return [...this.#nodes.values()].some(({ wanted, came }) => came < wanted);
  }

  async files(): Promise<FetchedFile[]> {
    return await Promise.all(this.#saved);
  }

  async #save(node: string, bytes: Uint8Array, number: number): Promise<FetchedFile> {
    const path = join(this.#dir, `picture-${number}`);
    const filename = `websocket_${String(number).padStart(5, "0")}.png`;
    await writeFile(path, bytes, { mode: 0o600 });
    return { path, node, filename, subfolder: "", type: "output", mime: "image/png", sizeBytes: bytes.length };
  }
}

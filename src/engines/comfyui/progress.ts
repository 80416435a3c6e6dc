import type { Progress } from "../engine.ts";
import type { Hint } from "./frames.ts";
import type { Workflow } from "./workflow.ts";

/** A preview larger than this is not worth its way to a caller. */
const largestPreviewBytes = 1_000_000;

/** Turns hints into one number that only grows: finished nodes, plus the share of the one that runs. */
export class PromptProgress {
  readonly #workflow: Workflow;
  readonly #total: number;
  readonly #onProgress: (progress: Progress) => void;
  readonly #wantsPreviews: () => boolean;
  readonly #done = new Set<string>();
  #node: string | undefined;
  #fraction = 0;
  #steps: { readonly step: number; readonly steps: number } | undefined;
  #stepsSince: { readonly at: number; readonly step: number } | undefined;

  constructor(workflow: Workflow, { onProgress, wantsPreviews }: { onProgress: (progress: Progress) => void; wantsPreviews: () => boolean }) {
    this.#workflow = workflow;
    this.#total = Math.max(1, Object.keys(workflow).length);
    this.#onProgress = onProgress;
    this.#wantsPreviews = wantsPreviews;
  }

  /** A node is at work that has not counted a step and whose kind loads models, which nothing can break off. */
  get isLoading(): boolean {
    const className = this.#workflow[this.#node ?? ""]?.class_type;
    return className !== undefined && this.#steps === undefined && /load|sampler/i.test(className);
  }

  hear(hint: Hint): void {
    switch (hint.type) {
      case "cached":
        for (const node of hint.nodes) this.#done.add(node);
        return this.#tell(0);
      case "node":
        if (this.#node !== undefined) this.#done.add(this.#node);
        this.#node = hint.node ?? undefined;
        this.#steps = undefined;
        this.#stepsSince = undefined;
        return this.#tell(0);
      case "progress":
        if (!(hint.max > 0)) return;
        this.#node = hint.node;
        this.#steps = { step: hint.value, steps: hint.max };
        this.#stepsSince ??= { at: performance.now(), step: hint.value };
        return this.#tell(Math.min(1, hint.value / hint.max));
      case "picture":
        if (!this.#wantsPreviews() || hint.isWhole || hint.bytes.length > largestPreviewBytes) return;
        return this.#onProgress({ ...this.#now(), preview: { mime: hint.mime, base64: Buffer.from(hint.bytes).toString("base64") } });
      default:
        return;
    }
  }

  #tell(share: number): void {
    this.#fraction = Math.max(this.#fraction, Math.min(1, (this.#done.size + share) / this.#total));
    this.#onProgress(this.#now());
  }

  #now(): Progress {
    const etaMs = this.#etaMs();
    return { fraction: this.#fraction, ...this.#steps, ...(etaMs !== undefined && { etaMs }) };
  }

  /** Of the node that counts its steps; what comes after it is not known. */
  #etaMs(): number | undefined {
    if (!this.#steps || !this.#stepsSince) return undefined;
    const made = this.#steps.step - this.#stepsSince.step;
    if (made <= 0) return undefined;
    return Math.round(((performance.now() - this.#stepsSince.at) / made) * (this.#steps.steps - this.#steps.step));
  }
}

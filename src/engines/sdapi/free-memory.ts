import { askJson, type Base } from "../request.ts";

/** Moving a model of 7 GB out of and into the GPU takes seconds, on a network volume a minute. */
const limitMs = 180_000;

/**
 * What makes room between two jobs. A1111 1.10.1 moves its model to the CPU and empties CUDA's cache (`unload-checkpoint`), and must be
 * told to take it back (`reload-checkpoint`), else the next job finds its parts on two devices. The bundled engine drops the model and
 * everything made of it, and loads it again with the next job. Rejects when the engine refuses.
 */
export async function freeMemory(base: Base, kind: "a1111" | "diffusers", { signal }: { signal: AbortSignal }): Promise<void> {
  const paths = kind === "a1111" ? ["/sdapi/v1/unload-checkpoint", "/sdapi/v1/reload-checkpoint"] : ["/sdapi/v1/free-memory"];
  for (const path of paths) {
    const { status } = await askJson(base, path, { method: "POST", signal: AbortSignal.any([signal, AbortSignal.timeout(limitMs)]) });
    if (status < 200 || status >= 300) throw new Error(`${path} answered with HTTP ${status}`);
  }
}

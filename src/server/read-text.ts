export type BodyText = { readonly type: "text"; readonly text: string } | { readonly type: "too-large" } | { readonly type: "broken"; readonly reason: string };

/** Reads a request's body as UTF-8, never more than `maxBytes` of it. */
export async function readText(request: Request, maxBytes: number): Promise<BodyText> {
  const declared = Number(request.headers.get("content-length") ?? 0);
  if (declared > maxBytes) return { type: "too-large" };
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.byteLength;
      if (size > maxBytes) return { type: "too-large" };
      chunks.push(chunk);
    }
  } catch {
    return { type: "broken", reason: "the connection broke before its end" };
  }
  try {
    const bytes = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, size);
    return { type: "text", text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    return { type: "broken", reason: "it is not valid UTF-8" };
  }
}

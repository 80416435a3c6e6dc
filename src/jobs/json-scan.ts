export interface JsonScan {
  /** How deep objects and arrays nest; counting stops one past the limit. */
  readonly depth: number;
  /** The top-level `id` when it is a string that came before the limit; known even when the text is too deep to parse. */
  readonly id: string | undefined;
}

const quote = 34;
const backslash = 92;

/**
 * Looks at JSON text without parsing it. `JSON.parse` recurses, so hostile nesting must be seen before it is called;
 * strings are skipped with `indexOf`, which makes this cheap for large prompts and base64.
 */
export function scanJson(text: string, maxDepth: number): JsonScan {
  let depth = 0;
  let deepest = 0;
  let id: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      const end = endOfString(text, at);
      if (depth === 1 && id === undefined && end - at === 3 && text.startsWith('"id"', at)) id = stringAfterColon(text, end + 1);
      at = end;
    } else if (code === 123 || code === 91) {
      depth += 1;
      if (depth > deepest) deepest = depth;
      if (depth > maxDepth) return { depth, id: id ?? lateId(text, at) };
    } else if (code === 125 || code === 93) depth -= 1;
  }
  return { depth: deepest, id };
}

/** Where the string that begins at `start` ends: the index of its closing quote, or of the end of the text. */
export function endOfString(text: string, start: number): number {
  let end = start;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === backslash) slashes += 1;
    if (slashes % 2 === 0) return end;
  }
}

function stringAfterColon(text: string, from: number): string | undefined {
  const found = /^\s*:\s*("(?:[^"\\]|\\.){0,512}")/.exec(text.slice(from, from + 1100))?.[1];
  try {
    return found === undefined ? undefined : String(JSON.parse(found));
  } catch {
    return undefined;
  }
}

/** RunPod writes `id` before or after `input`; past a nesting bomb it can still be found at the very end. */
function lateId(text: string, from: number): string | undefined {
  const tail = text.slice(Math.max(from, text.length - 1024));
  const at = tail.lastIndexOf('"id"');
  return at < 0 ? undefined : stringAfterColon(tail, at + 4);
}

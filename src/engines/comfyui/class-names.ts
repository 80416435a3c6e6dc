const quote = 0x22;
const escape = 0x5c;
const opening = new Set([0x7b, 0x5b]);
const closing = new Set([0x7d, 0x5d]);
const longestName = 1000;

/** The keys of a JSON object, of which nothing else is kept: where there are thousands of nodes with long lists it is tens of MB. */
export async function readClassNames(chunks: AsyncIterable<Uint8Array>): Promise<readonly string[]> {
  const names: string[] = [];
  let depth = 0;
  let isText = false;
  let isEscaped = false;
  /** Within the outermost object a text is a key until its colon, and the only text there: the values are objects. */
  let key: number[] | undefined;
  for await (const chunk of chunks) {
    for (const byte of chunk) {
      if (isText) {
        if (!isEscaped && byte === quote) {
          isText = false;
          if (key) names.push(readKey(key));
          key = undefined;
          continue;
        }
        isEscaped = !isEscaped && byte === escape;
        if (key && key.length < longestName) key.push(byte);
      } else if (byte === quote) {
        isText = true;
        isEscaped = false;
        if (depth === 1) key = [];
      } else if (opening.has(byte)) depth += 1;
      else if (closing.has(byte)) depth -= 1;
    }
  }
  return names;
}

function readKey(bytes: readonly number[]): string {
  const text = new TextDecoder().decode(Uint8Array.from(bytes));
  try {
    return JSON.parse(`"${text}"`) as string;
  } catch {
    return text;
  }
}

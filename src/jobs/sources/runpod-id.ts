import { encode } from "./runpod-url.ts";

/** Marks an id that is kept in its URL form; RunPod's own ids hold no colon. */
const mark = "url-encoded:";
/** A longer one fits no request line. */
const longestEncoded = 4000;

/**
 * RunPod's id as the journal, the log and the events may hold it: printable and not endless. What is neither is kept URL-encoded,
 * from which `wireId` finds back, in another life too. Undefined: no request could carry it.
 */
export function safeId(wire: string): string | undefined {
  // oxlint-disable-next-line no-control-regex -- exactly these are the trouble
  if (wire.length > 0 && wire.length <= 512 && !/[\u0000-\u001f\u007f]/.test(wire) && !wire.startsWith(mark)) return wire;
  const encoded = encode(wire);
  return encoded === "" || encoded.length > longestEncoded ? undefined : mark + encoded;
}

/** The id as the platform knows it. */
export function wireId(id: string): string {
  return id.startsWith(mark) ? decodeURIComponent(id.slice(mark.length)) : id;
}

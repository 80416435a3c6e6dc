import { closeSync, openSync, readSync } from "node:fs";

/** e_machine of the ELF header. */
const machines: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };

/** Why a library cannot be preloaded into programs of this architecture; undefined when it can. The loader itself only prints and goes on. */
export function whyNotPreload(path: string, arch: string = process.arch): string | undefined {
  const header = Buffer.alloc(20);
  try {
    const file = openSync(path, "r");
    try {
      readSync(file, header, 0, header.length, 0);
    } finally {
      closeSync(file);
    }
  } catch {
    return "it cannot be read";
  }
  if (header.readUInt32BE(0) !== 0x7f454c46) return "it is not a library";
  const wanted = machines[arch];
  const machine = header[5] === 2 ? header.readUInt16BE(18) : header.readUInt16LE(18);
  return header[4] === 2 && (wanted === undefined || machine === wanted) ? undefined : `it is made for another architecture than ${arch}`;
}

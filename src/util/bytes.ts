export const mebibyte = 1024 ** 2;
/** As disks and clouds count. */
export const gigabyte = 1e9;

/** Bytes for a person: `64 MB`, `23.4 GB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  if (bytes < 1e9) return `${Math.round(bytes / 1e6)} MB`;
  return `${(bytes / 1e9).toFixed(bytes < 1e11 ? 1 : 0)} GB`;
}

/** Memory for request bodies that are being read, shared by all requests. */
export interface BodyRoom {
  /** False: there is no room for so many more bytes now. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

const least = 256_000_000;

/** Room for two bodies of the largest size, and for 256 MB at least: more callers at once are told to come again. */
export function createBodyRoom(maxBodyBytes: number): BodyRoom {
  let left = Math.max(least, 2 * maxBodyBytes);
  return {
    take(bytes) {
      if (bytes > left) return false;
      left -= bytes;
      return true;
    },
    give(bytes) {
      left += bytes;
    },
  };
}

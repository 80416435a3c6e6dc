import { outputOf } from "./run-program.ts";

/** The words of `ldconfig -p` for a library of this architecture: `libx.so.4 (libc6,x86-64) => /lib/…`. */
const architectures: Readonly<Record<string, string>> = { x64: "x86-64", arm64: "AArch64" };

/** tcmalloc's full path by the linker's cache, as seed 000 asks it. Debian keeps ldconfig in /sbin, which a user's PATH may lack. */
export async function findTcmalloc({ signal }: { signal?: AbortSignal } = {}): Promise<string | undefined> {
  const options = signal ? { signal } : {};
  const listing = (await outputOf(["ldconfig", "-p"], options)) ?? (await outputOf(["/sbin/ldconfig", "-p"], options));
  return listing === undefined ? undefined : pickTcmalloc(listing, process.arch);
}

/** The full library before the minimal one (which lacks only the profilers); the newest of several. */
export function pickTcmalloc(listing: string, arch: string): string | undefined {
  const wanted = architectures[arch];
  const found = [...listing.matchAll(/^\s*(libtcmalloc(?:_minimal)?)\.so\.(\d+) \(([^)]*)\) => (\S.*)$/gm)]
    .map(([, name, version, flags = "", path = ""]) => ({ full: name === "libtcmalloc", version: Number(version), flags, path: path.trim() }))
    .filter(({ flags }) => wanted === undefined || flags.includes(wanted));
  return found.sort((a, b) => Number(b.full) - Number(a.full) || b.version - a.version)[0]?.path;
}

import type { RawLibc } from "./libc.ts";

interface BunFfi {
  dlopen(name: string, symbols: Readonly<Record<string, { args: readonly string[]; returns: string }>>): { readonly symbols: unknown };
}

/** A name that neither the type checker nor another runtime's bundler follows. */
const ffi: string = "bun:ffi";

export async function openOnBun(name: string): Promise<RawLibc> {
  const { dlopen } = (await import(ffi)) as BunFfi;
  return dlopen(name, {
    waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
    setrlimit: { args: ["i32", "ptr"], returns: "i32" },
    madvise: { args: ["u64", "u64", "i32"], returns: "i32" },
  }).symbols as RawLibc;
}

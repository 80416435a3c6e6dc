import type { RawLibc } from "./libc.ts";

interface DenoFfi {
  dlopen(name: string, symbols: Readonly<Record<string, { parameters: readonly string[]; result: string }>>): { readonly symbols: unknown };
}

export function openOnDeno(name: string): Promise<RawLibc | undefined> {
  const deno = (globalThis as { readonly Deno?: DenoFfi }).Deno;
  const library = deno?.dlopen(name, {
    waitpid: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
    madvise: { parameters: ["u64", "u64", "i32"], result: "i32" },
  });
  return Promise.resolve(library?.symbols as RawLibc | undefined);
}

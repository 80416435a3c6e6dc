// Assembles src/merge/native/*.s into src/merge/helper/native_code.py; --check fails when the committed file differs. Needs binutils of both
// architectures (Debian: binutils, binutils-aarch64-linux-gnu), which is why `bun run generate` leaves it out.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import { root, writeGenerated } from "./generated.ts";

const machines = [
  { name: "x86_64", node: "x64", prefix: "x86_64-linux-gnu-", needs: ["avx2", "f16c"] },
  { name: "aarch64", node: "arm64", prefix: "aarch64-linux-gnu-", needs: ["asimd"] },
];

const work = mkdtempSync(join(tmpdir(), "fettle-native-"));
try {
  const content = [
    "# Written by scripts/gen-native.ts; edit src/merge/native/*.s, then run `bun run generate:native`.",
    "# machine → (what /proc/cpuinfo must list, function → offset, the code)",
    "MACHINES: dict[str, tuple[tuple[str, ...], dict[str, int], str]] = {",
    ...machines.flatMap(assemble),
    "}",
    "",
  ].join("\n");
  writeGenerated([{ path: "src/merge/helper/native_code.py", content }], process.argv.includes("--check"));
} finally {
  rmSync(work, { recursive: true });
}

function assemble({ name, node, prefix, needs }: (typeof machines)[number]): string[] {
  const own = node === arch() ? "" : prefix;
  const run = (tool: string, ...args: string[]) => execFileSync(`${own}${tool}`, args, { encoding: "utf8" });
  const object = join(work, `${name}.o`);
  const code = join(work, `${name}.bin`);
  run("as", "-o", object, join(root, `src/merge/native/${name}.s`));
  run("objcopy", "-O", "binary", "--only-section=.text", object, code);
  const functions = [...run("nm", object).matchAll(/^0*([0-9a-f]+) T (\w+)$/gm)].map(([, offset, label]) => ({
    offset: Number.parseInt(offset ?? "", 16),
    label,
  }));
  functions.sort((one, other) => one.offset - other.offset);
  const lines =
    readFileSync(code)
      .toString("hex")
      .match(/.{1,120}/g) ?? [];
  return [
    `    ${JSON.stringify(name)}: (`,
    `        (${needs.map((one) => `${JSON.stringify(one)},`).join(" ")}),`,
    `        {${functions.map(({ label, offset }) => `${JSON.stringify(label)}: ${offset}`).join(", ")}},`,
    ...lines.map((line) => `        ${JSON.stringify(line)}`),
    "    ),",
  ];
}

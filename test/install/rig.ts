import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";

export const folder: string = mkdtempSync(join(tmpdir(), "fettle-install-"));
after(() => rmSync(folder, { recursive: true, force: true }));

export const python: string = process.env["FETTLE_PYTHON"] ?? "python3";

export function must(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}: ${stderr}`);
  return stdout.trim();
}

export const git = (repository: string, ...args: string[]): string =>
  must("git", "-C", repository, "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main", ...args);

/** Adds a commit with these files to a repository, which is made when it is missing; gives the commit. */
export function commit(name: string, files: Readonly<Record<string, string>>): string {
  const repository = join(folder, name);
  mkdirSync(repository, { recursive: true });
  git(repository, "init", "--quiet");
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(repository, file)), { recursive: true });
    writeFileSync(join(repository, file), content);
  }
  git(repository, "add", ".");
  git(repository, "commit", "--quiet", "--message", "A commit");
  return git(repository, "rev-parse", "HEAD");
}

/** A wheel with one module, so that pip installs it without asking an index. */
export function wheel(name: string): string {
  const path = join(folder, `${name}-1.0-py3-none-any.whl`);
  const code = [
    "import sys, zipfile",
    "path, name = sys.argv[1:]",
    "info = f'{name}-1.0.dist-info'",
    "with zipfile.ZipFile(path, 'w') as z:",
    "    z.writestr(f'{name}.py', '')",
    "    z.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')",
    "    z.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')",
    "    z.writestr(f'{info}/RECORD', '')",
  ].join("\n");
  must(python, "-c", code, path, name);
  return path;
}

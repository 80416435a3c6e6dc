import { chmod, readFile, stat } from "node:fs/promises";
import { stringify } from "yaml";
import { FettleError, reasonOf } from "../../errors/fettle-error.ts";
import type { Step } from "../../plan/step.ts";
import { writeFileAtomic } from "../../util/atomic-write.ts";

type WriteStep = Extract<Step, { type: "write" }>;

/** Writes the file when it differs from what it shall be, whole or not at all. */
export async function writeStep(step: WriteStep): Promise<string[]> {
  const { path, mode, block } = step;
  try {
    const old = await readIfThere(path);
    const content = contentOf(step);
    const wanted = block === undefined ? content : withBlock(old ?? "", block, content);
    const now = old === undefined ? undefined : (await stat(path)).mode & 0o7777;
    if (old !== wanted) {
      writeFileAtomic(path, wanted, { mode: mode ?? now ?? 0o644 });
      return [`wrote ${path}`];
    }
    if (mode === undefined || now === mode) return [];
    await chmod(path, mode);
    return [`set the rights of ${path} to ${mode.toString(8)}`];
  } catch (error) {
    throw new FettleError("phase.cannot-write", `Cannot write ${path}: ${reasonOf(error)}.`, { cause: error });
  }
}

export function contentOf({ content, comment }: Pick<WriteStep, "content" | "comment">): string {
  const body = typeof content === "string" ? content : stringify(content.yaml, { lineWidth: 0 });
  const ended = body === "" || body.endsWith("\n") ? body : `${body}\n`;
  return comment === undefined ? ended : `# ${comment}\n${ended}`;
}

/** The text with the named block replaced, or added at its end. A second boot finds its own block and changes nothing. */
export function withBlock(text: string, name: string, content: string): string {
  const [begin, end] = [`# >>> ${name} >>>\n`, `# <<< ${name} <<<\n`];
  const block = begin + content + end;
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from !== -1 && to !== -1) return text.slice(0, from) + block + text.slice(to + end.length);
  return text + (text === "" || text.endsWith("\n") ? "" : "\n") + block;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { outputOf } from "../machine/run-program.ts";
import { writeFileAtomic } from "../util/atomic-write.ts";
import { runProgram } from "./run-program.ts";
import type { Step, StepOptions } from "./step.ts";

export interface Checkout {
  readonly name: string;
  readonly url: string;
  /** A branch, a tag, a commit, or HEAD. */
  readonly ref: string;
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** What the folder was last brought to; lies in .git, where git does not look. */
interface Mark {
  readonly url: string;
  readonly ref: string;
  readonly commit: string;
}

/**
 * Brings a folder to a ref of a repository, one commit deep where the server allows that. Done means: the folder stands on the commit that
 * this very url and ref gave; a branch is therefore not followed until `ref` changes. Local changes are never overwritten: git refuses.
 */
export function checkoutStep(checkout: Checkout): Step {
  const { name, url, ref, directory } = checkout;
  return {
    title: `clone ${name} (${ref})`,
    async isDone({ signal }) {
      const mark = readMark(directory);
      return mark !== undefined && mark.url === url && mark.ref === ref && (await headOf(checkout, signal)) === mark.commit;
    },
    run: (options) => bringTo(checkout, options),
  };
}

async function bringTo(checkout: Checkout, options: StepOptions): Promise<void> {
  const { name, url, ref, directory } = checkout;
  // Never a question on a terminal: a build has none.
  const env = { ...checkout.env, GIT_TERMINAL_PROMPT: "0" };
  const git = (...args: string[]) => runProgram(["git", "-C", directory, ...args], { title: `clone ${name}`, env, ...options });
  if (!existsSync(join(directory, ".git"))) {
    if (existsSync(directory) && readdirSync(directory).length > 0) {
      throw new FettleError("install.failed", `Cannot clone ${name}: ${directory} exists and is not a git repository.`, {
        hint: "Move it away, or name another directory.",
      });
    }
    await runProgram(["git", "init", "--quiet", directory], { title: `clone ${name}`, env, ...options });
  }
  await git("config", "remote.origin.url", url);
  await git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*");
  try {
    await git("fetch", "--quiet", "--depth", "1", "origin", ref);
    await git("checkout", "--quiet", "--detach", "FETCH_HEAD");
  } catch (error) {
    // Some servers do not give out a commit by its number; then everything is fetched and the commit looked up.
    if (options.signal.aborted || !/^[0-9a-f]{7,40}$/.test(ref)) throw error;
    await git("fetch", "--quiet", "--tags", "origin", ...(existsSync(join(directory, ".git/shallow")) ? ["--unshallow"] : []));
    await git("checkout", "--quiet", "--detach", ref);
  }
  const commit = await headOf(checkout, options.signal);
  if (commit === undefined) throw new FettleError("install.failed", `Cannot clone ${name}: git does not tell its commit.`);
  writeFileAtomic(join(directory, ".git/fettle.json"), `${JSON.stringify({ url, ref, commit } satisfies Mark)}\n`);
}

async function headOf({ directory }: Checkout, signal: AbortSignal): Promise<string | undefined> {
  return (await outputOf(["git", "-C", directory, "rev-parse", "HEAD"], { signal, timeoutMs: 10_000 }))?.trim();
}

function readMark(directory: string): Mark | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, ".git/fettle.json"), "utf8")) as Mark;
  } catch {
    return undefined;
  }
}

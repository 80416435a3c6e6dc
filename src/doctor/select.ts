import { FettleError } from "../errors/fettle-error.ts";
import { suggest } from "../util/suggest.ts";
import { type Check, subjects } from "./check.ts";

/** The checks of `--only`: subjects and check ids, with commas between. Everything without it. */
export function selectChecks(table: readonly Check[], only: string | undefined): readonly Check[] {
  if (only === undefined) return table;
  const words = only
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  if (words.length === 0) throw new FettleError("cli.bad-value", "Cannot use --only: it names nothing.", { hint: `Subjects: ${subjects.join(", ")}.` });
  for (const word of words) {
    if (table.some(({ id, subject }) => id === word || subject === word)) continue;
    const near = suggest(word, [...subjects, ...table.map(({ id }) => id)]);
    throw new FettleError("cli.bad-value", `Cannot use --only ${word}: there is no such subject or check.`, {
      hint: near === undefined ? `Subjects: ${subjects.join(", ")}.` : `Did you mean ${near}?`,
    });
  }
  return table.filter(({ id, subject }) => words.includes(id) || words.includes(subject));
}

import { isAbsolute, normalize } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";

const braces = /\{([^}]*)\}/g;

export interface TemplateRules {
  /** The configuration key, for the mistake's place. */
  readonly key: string;
  readonly words: readonly string[];
  /** Each group must be there by one of its words, or images would overwrite each other. */
  readonly needs: readonly (readonly string[])[];
}

/** Throws `config.invalid` for a template that would lose or misplace images. */
export function checkTemplate(template: string, { key, words, needs }: TemplateRules): void {
  const used = [...template.matchAll(braces)].map((match) => match[1] ?? "");
  const foreign = used.find((word) => !words.includes(word));
  const missing = needs.find((group) => !group.some((word) => used.includes(word)));
  const fault =
    foreign !== undefined
      ? `there is no {${foreign}}, only {${words.join("}, {")}}`
      : missing
        ? `without {${missing.join("} or {")}} images would overwrite each other`
        : isAbsolute(template) || template.split("/").some((part) => part === ".." || part === "." || part === "") || normalize(template).startsWith("..")
          ? "it leads out of its folder"
          : undefined;
  if (fault) throw new FettleError("config.invalid", `Cannot use the template "${template}": ${fault}.`, { where: { path: key } });
}

export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(braces, (_, word: string) => values[word] ?? "");
}

const braces = /\{([^}]*)\}/g;

export interface TemplateRules {
  readonly words: readonly string[];
  /** Of each group one word must be there, or images would overwrite each other. */
  readonly needs: readonly (readonly string[])[];
}

export const fileTemplate: TemplateRules = { words: ["job", "index", "ext"], needs: [["job"], ["index"]] };
export const keyTemplate: TemplateRules = {
  words: ["job", "index", "ext", "random", "date"],
  needs: [
    ["job", "random"],
    ["index", "random"],
  ],
};

/** Why a template of names would lose or misplace images; undefined when it is good. */
export function templateFault(template: string, { words, needs }: TemplateRules): string | undefined {
  const used = [...template.matchAll(braces)].map((match) => match[1] ?? "");
  const foreign = used.find((word) => !words.includes(word));
  if (foreign !== undefined) return `there is no {${foreign}}, only {${words.join("}, {")}}`;
  const missing = needs.find((group) => !group.some((word) => used.includes(word)));
  if (missing) return `without {${missing.join("} or {")}} images would overwrite each other`;
  return template.split("/").some((part) => part === ".." || part === "." || part === "") ? "it leads out of its folder" : undefined;
}

export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(braces, (_, word: string) => values[word] ?? "");
}

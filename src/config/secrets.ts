import type { Diagnostic } from "../errors/fettle-error.ts";
import { isSecretName, secretsOf } from "../log/mask.ts";
import type { Environment } from "./substitute.ts";
import type { Tree } from "./tree.ts";

/** Every text that must not be printed: values of secret-named keys and variables, and passwords or tokens inside URLs. */
export function collectSecrets(trees: readonly Tree[], env: Environment): string[] {
  const secrets = new Set(secretsOf(env));
  for (const value of Object.values(env)) for (const secret of secretsInUrls(value ?? "")) secrets.add(secret);
  const visit = (tree: Tree, secret: boolean): void => {
    if (tree.kind === "map") for (const [key, entry] of tree.entries) visit(entry.value, secret || isSecretName(key));
    else if (tree.kind === "list") visitList(tree.items, secret);
    else if (typeof tree.value === "string" || typeof tree.value === "number") {
      for (const found of secretsInUrls(String(tree.value))) secrets.add(found);
      // A text with `${` is the reference to a secret, not the secret; its parts would mask ordinary words.
      if (secret && tree.raw.length >= 4 && !tree.raw.includes("${")) secrets.add(tree.raw);
    }
  };
  // `--api-key VALUE` and `--token=VALUE` in an argument list.
  const visitList = (items: readonly Tree[], secret: boolean): void => {
    items.forEach((item, index) => {
      const before = items[index - 1];
      const flag = before?.kind === "scalar" && /^--?[\w-]+$/.test(before.raw) && isSecretFlag(before.raw);
      visit(item, secret || flag);
      const inline = item.kind === "scalar" ? /^(--?[\w-]+)=(.{4,})$/s.exec(item.raw) : null;
      if (inline?.[1] && inline[2] && isSecretFlag(inline[1])) secrets.add(inline[2]);
    });
  };
  for (const tree of trees) visit(tree, false);
  // The longest first, so that a secret that holds another is masked whole.
  return [...secrets].sort((a, b) => b.length - a.length);
}

const isSecretFlag = (flag: string): boolean => isSecretName(flag.replace(/^-+/, "").replaceAll("-", "_"));

function secretsInUrls(text: string): string[] {
  if (!text.includes("://")) return [];
  const found: string[] = [];
  for (const [, password] of text.matchAll(/:\/\/[^\s/@:]*:([^\s/@]{4,})@/g)) if (password) found.push(password);
  for (const [, name = "", value = ""] of text.matchAll(/[?&]([\w.-]+)=([^\s&#]{4,})/g))
    if (isSecretInQuery(name.replaceAll("-", "_"), value)) found.push(value);
  return found;
}

/** Elsewhere a `key` is a name more often than a secret; short ones in a query too. */
function isSecretInQuery(name: string, value: string): boolean {
  return isSecretName(name) || (value.length >= 8 && /(^|_)(key|sig|signature)$/i.test(name));
}

/** A mistake without secrets: one star for one character in the drawn line, so that the mark below keeps its place. */
export function maskDiagnostic(one: Diagnostic, secrets: readonly string[]): Diagnostic {
  const stars = (text: string): string =>
    secrets.reduce((masked, secret) => (secret.length < 4 ? masked : masked.replaceAll(secret, "*".repeat(secret.length))), text);
  const where = one.where?.source === undefined ? one.where : { ...one.where, source: maskAssignments(stars(one.where.source)) };
  return { ...one, message: stars(one.message), ...(one.hint !== undefined && { hint: stars(one.hint) }), ...(where && { where }) };
}

/** `apiKey: abc` and `TOKEN=abc` in a line of a text that could not be parsed. */
function maskAssignments(line: string): string {
  return line.replace(/([\w-]+)(["']?\s*[:=]\s*["']?)([^\s"',}\]]+)/g, (whole: string, key: string, between: string, value: string) =>
    isSecretName(key.replaceAll("-", "_")) && !/^(\$\{|\{|\[|[*&])/.test(value) ? key + between + "*".repeat(value.length) : whole,
  );
}

import { isSecretName, maskSecrets } from "../log/mask.ts";
import type { Plan, Service } from "./plan.ts";

/**
 * The plan as it may be shown: known secrets, values of secret-named variables and flags, and passwords inside URLs become `***`.
 * `secrets` are the texts that the config loader collected.
 */
export function maskPlan(plan: Plan, secrets: readonly string[]): Plan {
  const text = (value: string): string => maskSecrets(value, secrets).replace(/(:\/\/[^\s/@:]*:)[^\s/@]+@/g, "$1***@");
  const masked = <T>(value: T): T =>
    (typeof value === "string" ? text(value) : Array.isArray(value) ? value.map(masked) : isObject(value) ? mapValues(value, masked) : value) as T;
  const service = (one: Service): Service => ({ ...masked(one), argv: maskArgv(one.argv).map(text), env: maskEnv(one.env, text) });
  return { ...masked(plan), services: plan.services.map(service) };
}

function maskEnv(env: Service["env"], text: (value: string) => string): Record<string, string | null> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value === null ? null : isSecretName(name) ? "***" : text(value)]));
}

/** `--api-key VALUE` and `--api-key=VALUE`. */
function maskArgv(argv: readonly string[]): string[] {
  const isSecretFlag = (word: string | undefined) =>
    word !== undefined && /^--?[\w-]+$/.test(word) && isSecretName(word.replace(/^-+/, "").replaceAll("-", "_"));
  return argv.map((word, index) => {
    const [flag = "", ...value] = word.split("=");
    if (value.length > 0 && isSecretFlag(flag)) return `${flag}=***`;
    return isSecretFlag(argv[index - 1]) && !word.startsWith("--") ? "***" : word;
  });
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

function mapValues(value: Record<string, unknown>, map: <T>(value: T) => T): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, map(one)]));
}

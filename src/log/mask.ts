/** Key names whose values are secrets wherever they stand: in a config, in an environment, in a URL's query. */
const secretName = /(pass(word)?|secret|token|api_?key|access_?key|private_?key|credential|authorization|auth)$/i;

export function isSecretName(name: string): boolean {
  return secretName.test(name);
}

/** Replaces each secret by `***`; values under 4 characters are left alone, they would mask ordinary words. */
export function maskSecrets(text: string, secrets: readonly string[]): string {
  let masked = text;
  for (const secret of secrets) if (secret.length >= 4) masked = masked.replaceAll(secret, "***");
  return masked;
}

/** The values of an environment that are secrets by their names. */
export function secretsOf(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value && value.length >= 4 && isSecretName(name) ? [value] : []));
}

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

/** The same for bytes of a log, at the speed of a search: most blocks hold none, and those come back as they are. The list may grow. */
export function createByteMask(secrets: readonly string[]): (block: Buffer) => Buffer {
  let known: Buffer[] = [];
  let counted = 0;
  return (block) => {
    if (counted !== secrets.length) {
      counted = secrets.length;
      known = [...new Set(secrets)].filter((secret) => secret.length >= 4).map((secret) => Buffer.from(secret));
    }
    return known.reduce((masked, secret) => (masked.includes(secret) ? without(masked, secret) : masked), block);
  };
}

function without(block: Buffer, secret: Buffer): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = block.indexOf(secret); at >= 0; at = block.indexOf(secret, from)) {
    parts.push(block.subarray(from, at), stars);
    from = at + secret.length;
  }
  return Buffer.concat([...parts, block.subarray(from)]);
}

const stars = Buffer.from("***");

/** The values of an environment that are secrets by their names. */
export function secretsOf(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value && value.length >= 4 && isSecretName(name) ? [value] : []));
}

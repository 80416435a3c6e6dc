interface Usual {
  readonly url: string;
}

const longest = 2048;

/** Where a job's result goes: where the job says, else where the configuration does. */
export function webhookOf(value: unknown, { url }: Usual): string | undefined {
  return typeof value === "string" && value !== "" ? value : url || undefined;
}

/** What is wrong with a job's `webhook`; undefined when nothing is, or it has none. Whether its host is allowed is seen when it is sent. */
export function webhookFault(value: unknown, _usual: Usual): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const cannot = 'Cannot accept the job: "webhook" must be';
  if (typeof value !== "string") return `${cannot} a URL.`;
  if (value.length > longest) return `${cannot} a URL of at most ${longest} characters.`;
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) return `${cannot} a URL that begins with https:// or http://.`;
  return undefined;
}

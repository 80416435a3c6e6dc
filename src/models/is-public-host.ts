import { resolvePublic } from "../util/public-address.ts";

/** Whether a name leads to the internet (also when it cannot be resolved: then nothing speaks for it). */
export async function isPublicHost(host: string, options: { signal: AbortSignal }): Promise<boolean> {
  return (await resolvePublic(host, options)).type !== "refused";
}

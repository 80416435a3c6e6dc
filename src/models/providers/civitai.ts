import { z } from "zod";
import { Fault } from "../fault.ts";
import type { ModelSource } from "../model-source.ts";
import { openUrl } from "../open-url.ts";
import { retrying } from "../retrying.ts";
import type { ModelSettings } from "../settings.ts";
import { readSmall } from "../read-small.ts";
import { statusFault } from "../status-fault.ts";
import type { Provider } from "./provider.ts";

type CivitaiSource = Extract<ModelSource, { kind: "civitai" }>;

/** Civitai's own hosts send one to another. */
const siblings = new Set(["civitai.com", "www.civitai.com", "civitai.red", "www.civitai.red", "civitai.green", "www.civitai.green"]);

const file = z.object({
  id: z.number().optional(),
  name: z.string().optional(),
  type: z.string().optional(),
  primary: z.boolean().optional(),
  metadata: z.object({ format: z.string().nullish(), size: z.string().nullish(), fp: z.string().nullish() }).nullish(),
  hashes: z.object({ SHA256: z.string().optional() }).nullish(),
});
const version = z.object({ files: z.array(file) });
type File = z.infer<typeof file>;

/** A version of a model on Civitai; its API names the file and its sha256. The token goes as a header, never into the URL. */
export const civitai: Provider<CivitaiSource> = {
  async locate(source, settings, { signal }) {
    const token = source.token ?? settings.civitai.token;
    const home = new URL(settings.civitai.url);
    const own = (url: URL) => url.origin === home.origin || (siblings.has(home.hostname) && siblings.has(url.hostname) && url.protocol === "https:");
    const authorize = (url: URL) => (token && own(url) ? `Bearer ${token}` : undefined);
    const explain = (status: number) => explainStatus(status, source.version, token !== undefined);
    const found = await askVersion(source, { settings, authorize, explain, signal });
    const sha256 = found?.hashes?.SHA256?.toLowerCase();
    return {
      url: new URL(`${settings.civitai.url}/api/download/models/${source.version}${source.query && `?${source.query}`}`),
      authorize,
      ...(found?.name && { fileName: found.name }),
      ...(sha256 && /^[0-9a-f]{64}$/.test(sha256) && { sha256 }),
      told: () => ({}),
      explain,
    };
  },
};

interface Ask {
  readonly settings: ModelSettings;
  readonly authorize: (url: URL) => string | undefined;
  readonly explain: (status: number) => Fault | undefined;
  readonly signal: AbortSignal;
}

/** The file that the download link gives: the one asked for by query, else the primary one. */
async function askVersion(source: CivitaiSource, { settings, authorize, explain, signal }: Ask): Promise<File | undefined> {
  const url = new URL(`${settings.civitai.url}/api/v1/model-versions/${source.version}`);
  const text = await retrying(settings, { signal }, async () => {
    using opened = await openUrl(url, { authorize, headers: { accept: "application/json" }, stallMs: settings.stallMs, signal });
    if (opened.status !== 200) throw explain(opened.status) ?? statusFault(opened);
    return await readSmall(opened, 4_000_000);
  });
  const { files } = parseVersion(text, url.hostname);
  const wanted = new URLSearchParams(source.query);
  const fits = files.filter((one) => {
    if (wanted.has("fileId")) return String(one.id) === wanted.get("fileId");
    const same = (name: string, value: string | null | undefined) => !wanted.has(name) || wanted.get(name)?.toLowerCase() === value?.toLowerCase();
    return same("type", one.type) && same("format", one.metadata?.format) && same("size", one.metadata?.size) && same("fp", one.metadata?.fp);
  });
  if (fits.length === 0)
    throw new Fault("model.not-found", `version ${source.version} has no such file`, { hint: "Check ?type=, format=, size=, fp= or fileId=." });
  return fits.find(({ primary }) => primary) ?? (fits.length === 1 ? fits[0] : undefined);
}

function parseVersion(text: string, host: string): z.infer<typeof version> {
  try {
    return version.parse(JSON.parse(text));
  } catch {
    throw new Fault("model.wrong-content", `${host} does not answer as Civitai's API does`, {
      passing: false,
      hint: "A proxy or a login page may stand between.",
    });
  }
}

function explainStatus(status: number, id: string, hasToken: boolean): Fault | undefined {
  switch (status) {
    case 401:
      return hasToken
        ? new Fault("model.unauthorized", "Civitai does not accept CIVITAI_API_KEY", { hint: "Make a new key on Civitai, under account settings." })
        : new Fault("model.unauthorized", "Civitai asks for a key", { hint: "Set CIVITAI_API_KEY to a key from your account's settings." });
    case 403:
      return new Fault("model.forbidden", `Civitai gives no access to version ${id}`, {
        hint: "It may be in early access or the key's owner may not see it: open its page while logged in.",
      });
    case 404:
      return new Fault("model.not-found", `Civitai has no version ${id}`, { hint: "Take the number behind modelVersionId=, not the model's own." });
    default:
      return undefined;
  }
}

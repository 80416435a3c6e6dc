import { join } from "node:path";
import { FettleError } from "../errors/fettle-error.ts";
import { parseDuration } from "../util/duration.ts";

export interface ModelSettings {
  /** Blobs, unfinished downloads and locks; machines may share it on one volume. */
  readonly cacheDir: string;
  readonly huggingface: { readonly url: string; readonly token: string | undefined };
  readonly civitai: { readonly url: string; readonly token: string | undefined };
  /** A connection that is silent for so long is given up and made anew. */
  readonly stallMs: number;
  /** Connections for one file, where its server can send parts. */
  readonly connections: number;
  /** Tries in a row that bring no new byte. */
  readonly tries: number;
  readonly firstRetryMs: number;
  /** Smaller files come over one connection. */
  readonly smallestPartBytes: number;
  /** Only what the cache has; no network. */
  readonly offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from an environment (HF_TOKEN, HF_ENDPOINT, CIVITAI_API_KEY or CIVITAI_TOKEN …); `cacheDir` defaults to `stateDir`/models. */
export function readModelSettings(
  env: Environment,
  { stateDir, cacheDir }: { readonly stateDir: string; readonly cacheDir?: string | undefined },
): ModelSettings {
  return {
    cacheDir: cacheDir ?? (env["FETTLE_MODEL_CACHE"] || join(stateDir, "models")),
    huggingface: { url: endpoint(env, "HF_ENDPOINT", "https://huggingface.co"), token: token(env, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") },
    civitai: { url: endpoint(env, "FETTLE_CIVITAI_URL", "https://civitai.com"), token: token(env, "CIVITAI_API_KEY", "CIVITAI_TOKEN") },
    stallMs: duration(env, "FETTLE_DOWNLOAD_STALL") ?? 120_000,
    connections: 6,
    tries: 5,
    firstRetryMs: Number(env["FETTLE_TEST_RETRY_MS"]) || 1000,
    smallestPartBytes: Number(env["FETTLE_TEST_PART_BYTES"]) || 32 * 1024 * 1024,
    offline: /^(1|true|yes|on)$/i.test(env["HF_HUB_OFFLINE"] ?? ""),
  };
}

function endpoint(env: Environment, name: string, usual: string): string {
  const text = env[name]?.trim();
  if (!text) return usual;
  const url = URL.parse(text);
  if (!url || !["http:", "https:"].includes(url.protocol) || url.username || url.search)
    throw new FettleError("model.bad-source", `Cannot use ${name}: expected an http or https address without user and query.`);
  return url.href.replace(/\/+$/, "");
}

/** The first that is set. What no header can hold (a file with several lines) is said here, not by a failing request. */
function token(env: Environment, ...names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = env[name]?.trim();
    if (!value) continue;
    if (!/^[\x21-\x7e]+$/.test(value))
      throw new FettleError("model.unauthorized", `Cannot use ${name}: it holds characters that no token has.`, {
        hint: "Set it to the token alone, one line.",
      });
    return value;
  }
  return undefined;
}

function duration(env: Environment, name: string): number | undefined {
  const text = env[name];
  if (!text) return undefined;
  const ms = parseDuration(text);
  if (ms === undefined || ms <= 0) throw new FettleError("cli.bad-value", `Cannot use ${name}: expected a duration such as 120s.`);
  return ms;
}

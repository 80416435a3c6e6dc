import type { Config } from "../config/schema/index.ts";
import { FettleError, reasonOf } from "../errors/fettle-error.ts";
import { plainEngine, useEngineAt } from "../plan/engine-at.ts";
import { pause } from "../util/pause.ts";

/** What answers at an address. `sdapi` is A1111's API, which the bundled engine, Forge and SD.Next serve as well. */
export type DetectedKind = "sdapi" | "comfyui";

const askMs = 10_000;
/** An engine that says it is still loading gets so long. */
const patienceMs = 300_000;
const againMs = 500;
const loading = new Set([502, 503, 504]);

/**
 * Asks what kind of engine runs at an address: A1111's by `/sdapi/v1/sd-models`, ComfyUI by `/system_stats`.
 * Throws `engine.unreachable` when nothing answers, `engine.rejected` for a wrong password, `engine.bad-answer` for something else.
 */
export async function detectEngine(url: string, { signal }: { signal: AbortSignal }): Promise<DetectedKind> {
  const startedMs = performance.now();
  for (;;) {
    const models = await ask(url, "/sdapi/v1/sd-models", signal);
    if (models.status === 200 && Array.isArray(models.body)) return "sdapi";
    if (models.status === 401 || models.status === 403)
      throw new FettleError("engine.rejected", `Cannot use the engine at ${shown(url)}: it wants a user and a password.`, {
        hint: "Write them as http://USER:PASSWORD@HOST:PORT, best in engines.NAME.url of a configuration, from ${VARIABLES}.",
      });
    const stats = await ask(url, "/system_stats", signal);
    if (stats.status === 200 && isObject(stats.body) && isObject(stats.body["system"])) return "comfyui";
    if (!loading.has(models.status) || performance.now() - startedMs > patienceMs) {
      throw new FettleError(
        "engine.bad-answer",
        `Cannot use the engine at ${shown(url)}: it answers neither as A1111 (HTTP ${models.status}) nor as ComfyUI (HTTP ${stats.status}).`,
        {
          hint: "Start A1111 with --api; name the engine's own port, not that of a page in front of it.",
        },
      );
    }
    await pause(againMs, { signal });
    signal.throwIfAborted();
  }
}

/** The config with the engine at `url` in the place of its own, of the kind that was found there. */
export function useDetected(config: Config, url: string, kind: DetectedKind): Config {
  const there = useEngineAt(config, url);
  const [name, engine] = Object.entries(there.engines).find(([, { enabled }]) => enabled) ?? [];
  // Whatever serves /sdapi/v1 understands what an A1111 does; the bundled engine's own extras may be unknown there.
  const found = kind === "comfyui" ? "comfyui" : "a1111";
  if (name === undefined || engine === undefined || engine.kind === found) return there;
  const plain = plainEngine(found, url);
  return plain ? { ...there, engines: { [name]: plain } } : there;
}

async function ask(url: string, path: string, signal: AbortSignal): Promise<{ readonly status: number; readonly body: unknown }> {
  const { origin, pathname, username, password } = new URL(url);
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64");
  try {
    const response = await fetch(`${origin}${pathname.replace(/\/+$/, "")}${path}`, {
      headers: username ? { authorization: `Basic ${credentials}` } : {},
      signal: AbortSignal.any([signal, AbortSignal.timeout(askMs)]),
    });
    const text = await response.text();
    return { status: response.status, body: parse(text) };
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error && error.name === "TimeoutError" ? `no answer within ${askMs / 1000} s` : reasonOf(rootOf(error));
    throw new FettleError("engine.unreachable", `Cannot use the engine at ${shown(url)}: ${reason}.`, {
      hint: "Start it, or name another --engine-url.",
      cause: error,
    });
  }
}

const shown = (url: string): string => new URL(url).origin;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootOf(error.cause) : error;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

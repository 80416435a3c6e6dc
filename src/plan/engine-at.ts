import { type Config, configSchema, type EngineConfig } from "../config/schema/index.ts";
import { FettleError } from "../errors/fettle-error.ts";

/** An engine of a kind with that kind's defaults. */
export function plainEngine(kind: EngineConfig["kind"], url: string): EngineConfig | undefined {
  return configSchema.parse({ engines: { engine: { kind, url } } }).engines["engine"];
}

/** The config with one engine, the one at `url`, in the place of those it would launch; unchanged without a url. */
export function useEngineAt(config: Config, url: string | undefined): Config {
  if (url === undefined) return config;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new FettleError("cli.bad-value", `Cannot use --engine-url ${url}: expected an http address.`, { hint: "Write it like http://127.0.0.1:3000." });
  }
  const [name, engine] = Object.entries(config.engines).find(([, one]) => one.enabled) ?? [
    "engine",
    configSchema.parse({ engines: { engine: { kind: "a1111" } } }).engines["engine"],
  ];
  return engine ? { ...config, engines: { [name]: { ...engine, url } } } : config;
}

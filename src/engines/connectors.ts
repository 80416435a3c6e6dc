import type { ConnectOptions, Endpoint, Engine } from "./engine.ts";
import { connectSdapi } from "./sdapi/connect.ts";

/** How each kind of engine is spoken to. A1111's webui and the bundled engine serve one API. */
export const connectors: Readonly<Record<string, (endpoint: Endpoint, options: ConnectOptions) => Engine>> = {
  a1111: connectSdapi("a1111"),
  diffusers: connectSdapi("diffusers"),
};

import type { Config } from "../../config/schema/index.ts";
import { createFileSink } from "./file.ts";
import { createInlineSink } from "./inline.ts";
import type { Sink } from "./sink.ts";

/** The sinks that a configuration asks for. The answer always goes inline; a new kind is a file and a line here. */
export function createSinks(config: Config["results"]): readonly Sink[] {
  return [createInlineSink(), ...(config.files ? [createFileSink(config.files)] : [])];
}

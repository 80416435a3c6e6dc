import type { Config } from "../../config/schema/index.ts";
import { createFileSink } from "./file.ts";
import type { Sink } from "./sink.ts";

/** The sinks that a configuration asks for; a new kind is a file and a line here. */
export function createSinks({ files }: Pick<Config["results"], "files">): readonly Sink[] {
  return files ? [createFileSink(files)] : [];
}

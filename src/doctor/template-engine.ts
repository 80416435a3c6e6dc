import type { DiffusersEngineConfig } from "../config/schema/index.ts";

/** An engine with templates, and where it will look for what they name. */
export interface TemplateEngine {
  readonly name: string;
  readonly engine: DiffusersEngineConfig;
  readonly file: string;
  readonly modelsDir: string;
  readonly mergedDirs: readonly string[];
}

// Writes docs/config.schema.json and docs/recipe.schema.json from their zod schemas; --check fails when a committed file differs.
import { formatJsonSchema } from "../src/config/json-schema.ts";
import { formatRecipeSchema } from "../src/merge/recipe-schema.ts";
import { writeGenerated } from "./generated.ts";

const files = [
  { path: "docs/config.schema.json", content: formatJsonSchema() },
  { path: "docs/recipe.schema.json", content: formatRecipeSchema() },
];
writeGenerated(files, process.argv.includes("--check"));

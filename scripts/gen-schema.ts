// Writes docs/config.schema.json from the configuration's schema; --check fails when the committed file differs.
import { formatJsonSchema } from "../src/config/json-schema.ts";
import { writeGenerated } from "./generated.ts";

writeGenerated([{ path: "docs/config.schema.json", content: formatJsonSchema() }], process.argv.includes("--check"));

// Writes src/server/openapi.txt, the job API's OpenAPI 3.1 description, from its table of routes; --check fails when the committed file differs.
// It ends in .txt because the runtimes read a .json import as a value, and this one is sent as it stands.
import { buildOpenapi } from "../src/server/build-openapi.ts";
import { writeGenerated } from "./generated.ts";

writeGenerated([{ path: "src/server/openapi.txt", content: `${JSON.stringify(buildOpenapi(), null, 2)}\n` }], process.argv.includes("--check"));

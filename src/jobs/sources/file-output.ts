import { dirname, join } from "node:path";

/** Where the result of a job file is written: `test_input.json` → `test_output.json`; any other name gains `.output.json`. */
export function outputPath(inputPath: string): string {
  const name = inputPath.slice(inputPath.lastIndexOf("/") + 1);
  const output = /input(?=\.json$)/.test(name) ? name.replace(/input(?=\.json$)/, "output") : `${name}.output.json`;
  return join(dirname(inputPath), output);
}

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { StallReport } from "../../http.ts";
import type { Row } from "./row.ts";

const bench = fileURLToPath(new URL("../../index.ts", import.meta.url));

/** The bench `http`, in a process of its own. fettle lets no preloaded probe into its worker, so that one runs the worker from source. */
export const stall: Row<"fettle"> = {
  about: "event loop stall with four 15 MB results through the HTTP API (from source)",
  sides: ["fettle"],
  async measure({ plan, samples }) {
    const run = promisify(execFile)(process.execPath, [bench, "http", "--json", "--waves", String(plan.stallWaves)]);
    // It ends with 1 when its own target is missed.
    const { stdout } = await run.catch((error: { code?: unknown; stdout: string }) => {
      if (error.code === 1 && error.stdout !== "") return error;
      throw error;
    });
    const { ownMs, wallMs } = JSON.parse(stdout) as StallReport;
    samples.add("stallMs", "fettle", ownMs.max);
    samples.add("stallWallMs", "fettle", wallMs.max);
  },
};

import { secretsOf } from "../src/log/mask.ts";
import { subjects } from "../src/doctor/check.ts";
import { checks } from "../src/doctor/checks/index.ts";
import { createPatient, type PatientConfig } from "../src/doctor/patient.ts";
import { buildReport, formatReport } from "../src/doctor/report.ts";
import { runChecks } from "../src/doctor/run-checks.ts";
import { selectChecks } from "../src/doctor/select.ts";
import { FettleError } from "../src/errors/fettle-error.ts";
import { exits } from "../src/errors/catalog.ts";
import { type Args, type Command, type Io, textFlag } from "./command.ts";
import { configFlags, loadFromArgs } from "./load-config.ts";

export const command: Command = {
  name: "doctor",
  summary: "Say what is wrong with this machine, and the fix",
  flags: [{ usage: "--only <subjects>", summary: `Subjects or check ids, with commas between: ${subjects.join(", ")}` }, ...configFlags],
  examples: ["fettle doctor", "fettle doctor --only gpu,python --profile a1111-runpod", "fettle doctor --json"],
  exits: ["1   something is critical (warnings leave it at 0)", "130 interrupted"],
  async run(args, io) {
    const asked = selectChecks(checks, textFlag(args, "only"));
    const config = readConfig(args, io);
    const patient = createPatient({ env: io.env, cwd: io.cwd, config, signal: io.signal });
    const rows = await runChecks(checks, asked, patient, { signal: io.signal });
    if (io.signal.aborted) return 130;
    const report = buildReport(rows, config.type === "loaded" ? config.loaded.secrets : secretsOf(io.env));
    io.out(args.flags["json"] ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
    return report.ok ? exits.done : exits.failed;
  },
};

/** A configuration with mistakes is a finding, not the end: the rest of the machine is still looked at. */
function readConfig(args: Args, io: Io): PatientConfig {
  try {
    return { type: "loaded", loaded: loadFromArgs(args, io) };
  } catch (error) {
    if (error instanceof FettleError) return { type: "refused", error };
    throw error;
  }
}

import { reasonOf } from "../errors/fettle-error.ts";
import type { Check, Facts, Finding, Subject } from "./check.ts";
import type { Patient } from "./patient.ts";

/** One row of the report. */
export interface Diagnosis {
  /** The check's id; with `:item` when one check looked at several things. */
  readonly id: string;
  readonly subject: Subject;
  readonly title: string;
  readonly state: Finding["state"];
  readonly message: string;
  readonly fix?: string;
  readonly facts?: Facts;
}

export interface RunChecksOptions {
  readonly signal: AbortSignal;
  /** One check may take this long; default 5 s. What hangs longer is "not checked". */
  readonly timeoutMs?: number;
}

/**
 * Runs the checks all at once, each after those it needs, and gives the rows in the table's order. Needs that are not in
 * `asked` run too; such a one is reported only when it is what stands in the way.
 */
export async function runChecks(
  table: readonly Check[],
  asked: readonly Check[],
  patient: Patient,
  { signal, timeoutMs = 5000 }: RunChecksOptions,
): Promise<Diagnosis[]> {
  const runs = new Map<string, Promise<readonly Finding[]>>();
  const blockers = new Set<string>();
  const run = (check: Check): Promise<readonly Finding[]> => {
    const known = runs.get(check.id) ?? afterNeeds(check);
    runs.set(check.id, known);
    return known;
  };
  const afterNeeds = async (check: Check): Promise<readonly Finding[]> => {
    for (const need of check.needs ?? []) {
      const first = table.find(({ id }) => id === need);
      if (!first) throw new Error(`${check.id} needs ${need}, which is no check`);
      if (!(await run(first)).some(isBlocking)) continue;
      blockers.add(need);
      return [{ state: "not-checked", message: `skipped: blocked by ${need}` }];
    }
    return await once(check, patient, { signal, timeoutMs });
  };
  await Promise.all(asked.map(run));
  const shown = table.filter((check) => asked.includes(check) || blockers.has(check.id));
  const rows = await Promise.all(shown.map(async (check) => (await run(check)).map((finding) => rowOf(check, finding))));
  return rows.flat();
}

function isBlocking(finding: Finding): boolean {
  return finding.state === "critical" || finding.state === "not-checked" || (finding.state === "warning" && finding.blocks === true);
}

async function once(check: Check, patient: Patient, { signal, timeoutMs }: Required<RunChecksOptions>): Promise<readonly Finding[]> {
  const timeout = new AbortController();
  const late = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(() => {
    timeout.abort();
    late.resolve([{ state: "not-checked", message: `no answer within ${timeoutMs / 1000} s` }]);
  }, timeoutMs);
  try {
    const work = check.check(patient, { signal: AbortSignal.any([signal, timeout.signal]) });
    const found = await Promise.race([work, late.promise]);
    return Array.isArray(found) ? (found as readonly Finding[]) : [found as Finding];
  } catch (error) {
    return [{ state: "not-checked", message: `the check failed: ${reasonOf(error)}` }];
  } finally {
    clearTimeout(timer);
  }
}

function rowOf({ id, subject, title }: Check, finding: Finding): Diagnosis {
  const { item, state, message, facts } = finding;
  return {
    id: item === undefined ? id : `${id}:${item}`,
    subject,
    title: item === undefined ? title : `${title} (${item})`,
    state,
    message,
    ...("fix" in finding && { fix: finding.fix }),
    ...(facts && { facts }),
  };
}

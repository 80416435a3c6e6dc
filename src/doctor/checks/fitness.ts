import type { Check } from "../check.ts";
import { fitnessLooks } from "../fitness.ts";

/** What the RunPod worker will look at before its first job; no rows where no jobs come from RunPod. */
export const fitnessChecks: readonly Check[] = fitnessLooks.map(({ check, title, isWanted, look }) => ({
  id: `fitness.${check}`,
  subject: "fitness",
  title: `${title} for RunPod`,
  needs: ["config.valid"],
  async check(patient, options) {
    const runpod = patient.valid.sources.runpod;
    const isOn = runpod?.enabled === true || (runpod?.enabled === "auto" && runpod.takeUrl !== "");
    return runpod && isOn && runpod.fitness.enabled && isWanted(runpod.fitness) ? await look(patient, runpod.fitness, options) : [];
  },
}));

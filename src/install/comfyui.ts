import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ComfyuiInstallConfig } from "../config/schema/index.ts";
import { checkoutStep } from "./git-checkout.ts";
import { requirementsStep, venvStep } from "./python-env.ts";
import type { StepGroup } from "./step.ts";

/** Clones at the same time; more only fight for one network. */
const cloneLimit = 5;

/** ComfyUI at a ref, its custom nodes, and one environment for all their requirements. */
export function comfyuiSteps(
  { repository, ref, directory, python, nodes }: ComfyuiInstallConfig,
  env: Readonly<Record<string, string | undefined>>,
): StepGroup[] {
  const venv = { name: "ComfyUI", python, directory: join(directory, ".venv"), env };
  const folders = nodes.map(({ name }) => join(directory, "custom_nodes", name));
  const requirements = () => [directory, ...folders].map((folder) => join(folder, "requirements.txt")).filter((file) => existsSync(file));
  return [
    { limit: 1, steps: [checkoutStep({ name: "ComfyUI", url: repository, ref, directory, env })] },
    {
      limit: cloneLimit,
      steps: nodes.map(({ name, url, commit }, index) => checkoutStep({ name, url, ref: commit, directory: folders[index] ?? "", env })),
    },
    { limit: 1, steps: [venvStep(venv), requirementsStep(venv, requirements)] },
  ];
}

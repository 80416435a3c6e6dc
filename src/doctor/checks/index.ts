import type { Check } from "../check.ts";
import { configChecks } from "./config.ts";
import { diskChecks } from "./disk.ts";
import { engineChecks } from "./engine.ts";
import { fitnessChecks } from "./fitness.ts";
import { gpuChecks } from "./gpu.ts";
import { handlerChecks } from "./handler.ts";
import { instanceChecks } from "./instance.ts";
import { limitsChecks } from "./limits.ts";
import { memoryChecks } from "./memory.ts";
import { portsChecks } from "./ports.ts";
import { processChecks } from "./process.ts";
import { pythonChecks } from "./python.ts";
import { secretsChecks } from "./secrets.ts";
import { templatesChecks } from "./templates.ts";

/** Every check, in the order of the report. */
export const checks: readonly Check[] = [
  ...configChecks,
  ...gpuChecks,
  ...pythonChecks,
  ...engineChecks,
  ...templatesChecks,
  ...handlerChecks,
  ...memoryChecks,
  ...diskChecks,
  ...limitsChecks,
  ...processChecks,
  ...portsChecks,
  ...secretsChecks,
  ...instanceChecks,
  ...fitnessChecks,
];

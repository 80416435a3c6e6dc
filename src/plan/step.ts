import { join } from "node:path";
import type { StepConfig } from "../config/schema/index.ts";
import { modelPathSteps } from "./model-paths.ts";
import type { Service } from "./plan.ts";

/** A built-in step of a task: what shall be so. Doing it a second time changes nothing. */
export type Step = StepKind & {
  /** After its failure: end here, go on and fail in the end, or only say it. */
  readonly onFailure: "fail" | "continue" | "warn";
};

export type StepKind =
  | { readonly type: "directories"; readonly paths: readonly string[]; readonly mode?: number }
  | { readonly type: "links"; readonly links: readonly StepLink[]; readonly onFolder: "move" | "keep" | "fail" }
  | {
      readonly type: "write";
      readonly path: string;
      readonly content: string | { readonly yaml: unknown };
      readonly comment?: string;
      readonly mode?: number;
      readonly block?: string;
    }
  | { readonly type: "check"; readonly check: StepCheck; readonly title?: string; readonly timeoutMs: number };

export interface StepLink {
  readonly path: string;
  readonly to: string;
}

export type StepCheck =
  | { readonly type: "exists" | "writable" | "mounted"; readonly path: string }
  | { readonly type: "http"; readonly url: string }
  | { readonly type: "tcp"; readonly port: number }
  | { readonly type: "service"; readonly service: string };

/** A step as the config writes it → as the plan carries it, sometimes as several. */
export function stepsOf(config: StepConfig): readonly Step[] {
  const kinds = "modelPaths" in config ? modelPathSteps(config.modelPaths) : [kindOf(config)];
  return kinds.map((kind) => ({ ...kind, onFailure: config.onFailure }));
}

/** The program that carries out steps: this one. */
export function programOfSteps(steps: readonly Step[], { selfArgv, socketName, runtimeDir, env }: StepProgram): Pick<Service, "argv" | "env" | "steps"> {
  return { argv: [...selfArgv, "steps"], env: { FETTLE_CONTROL: join(runtimeDir, socketName), ...env }, steps };
}

export interface StepProgram {
  /** The argv that starts this very program again. */
  readonly selfArgv: readonly string[];
  readonly socketName: string;
  readonly runtimeDir: string;
  readonly env: Service["env"];
}

function kindOf(config: Exclude<StepConfig, { modelPaths: unknown }>): StepKind {
  if ("directories" in config) return { type: "directories", paths: config.directories, ...modeOf(config.mode) };
  if ("links" in config) return { type: "links", links: config.links, onFolder: config.onFolder };
  if ("write" in config) {
    const { path, text, yaml, comment, mode, block } = config.write;
    return {
      type: "write",
      path,
      content: yaml === undefined ? (text ?? "") : { yaml },
      ...(comment !== undefined && { comment }),
      ...modeOf(mode),
      ...(block !== undefined && { block }),
    };
  }
  return { type: "check", check: checkOf(config.check), timeoutMs: config.timeout, ...(config.title !== undefined && { title: config.title }) };
}

function checkOf(config: Extract<StepConfig, { check: unknown }>["check"]): StepCheck {
  const { exists, writable, mounted, http, tcp, service } = config;
  if (http !== undefined) return { type: "http", url: http };
  if (tcp !== undefined) return { type: "tcp", port: tcp };
  if (service !== undefined) return { type: "service", service };
  if (exists !== undefined) return { type: "exists", path: exists };
  return writable === undefined ? { type: "mounted", path: mounted ?? "" } : { type: "writable", path: writable };
}

const modeOf = (mode: string | undefined): { readonly mode?: number } => (mode === undefined ? {} : { mode: Number.parseInt(mode, 8) });

/** For `--dry-run`: what the step makes sure of, in words. */
export function describeStep(step: Step): string {
  switch (step.type) {
    case "directories":
      return `make ${step.paths.join(", ")}`;
    case "links":
      return `link ${step.links.map(({ path, to }) => `${path} → ${to}`).join(", ")}`;
    case "write":
      return `write ${step.path}`;
    case "check":
      return `check that ${step.title ?? describeCheck(step.check)}`;
  }
}

export function describeCheck(check: StepCheck): string {
  switch (check.type) {
    case "exists":
      return `${check.path} exists`;
    case "writable":
      return `${check.path} is writable`;
    case "mounted":
      return `a volume is mounted on ${check.path}`;
    case "http":
      return `${check.url} answers`;
    case "tcp":
      return `port ${check.port} accepts`;
    case "service":
      return `${check.service} is ready`;
  }
}

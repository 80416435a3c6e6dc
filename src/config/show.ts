import { isSecretName, maskSecrets } from "../log/mask.ts";
import { stringify } from "yaml";
import { exactDuration } from "../util/duration.ts";
import type { LoadedConfig } from "./load.ts";
import { formatOrigin } from "./origins.ts";
import { configSchema } from "./schema/index.ts";
import { isDurationAt } from "./schema-walk.ts";
import { formatPath, type Path } from "./tree.ts";

type Shown = string | number | boolean | null | readonly Shown[] | { readonly [key: string]: Shown };

/** The effective configuration as a person would write it: durations with units, secrets as `***`. It is valid input again. */
export function showValue({ config, secrets }: LoadedConfig): { readonly [key: string]: Shown } {
  const visit = (value: unknown, path: Path): Shown => {
    if (Array.isArray(value)) return value.map((item, index) => visit(item, [...path, index]));
    if (typeof value === "object" && value !== null) {
      const present = Object.entries(value).filter(([, one]) => one !== undefined);
      return Object.fromEntries(present.map(([key, one]) => [key, visit(one, [...path, key])]));
    }
    const key = path.findLast((step) => typeof step === "string");
    const secret = typeof key === "string" && isSecretName(key) && value !== "" && value !== null;
    if (secret) return "***";
    if (typeof value === "number" && isDurationAt(configSchema, path, config)) return exactDuration(value);
    return typeof value === "string" ? maskSecrets(value, secrets) : (value as Shown);
  };
  // `extends` has been followed; written out again it would append every extraArgs a second time.
  const { extends: _, ...own } = config;
  return visit(own, []) as { readonly [key: string]: Shown };
}

/**
 * The effective configuration as YAML, each value with the layer it came from as a trailing comment. Values that are
 * defaults carry no comment unless `everyOrigin`, which also says the line in the user's file.
 */
export function showYaml(loaded: LoadedConfig, { everyOrigin = false }: { everyOrigin?: boolean } = {}): string {
  const lines: string[] = [`# ${[`Profile ${loaded.profile}`, ...loaded.files.map((file) => `file ${file}`)].join(", ")}`];
  const origin = (path: Path): string => {
    const found = loaded.origins.get(formatPath(path));
    if (everyOrigin) return `  # ${maskSecrets(formatOrigin(found), loaded.secrets)}`;
    return found && found.layer !== "defaults" ? `  # ${maskSecrets(formatOrigin({ ...found, line: undefined }), loaded.secrets)}` : "";
  };
  const write = (key: string, value: Shown, path: Path, indent: string): void => {
    const head = `${indent}${scalar(key)}:`;
    if (Array.isArray(value)) {
      if (value.length === 0) return void lines.push(`${head} []${origin(path)}`);
      lines.push(head + origin(path));
      const whole = origin(path);
      value.forEach((item: Shown, index) => {
        const own = origin([...path, index]);
        lines.push(`${indent}  - ${typeof item === "object" ? JSON.stringify(item) : scalar(item)}${own === whole || everyOrigin ? "" : own}`);
      });
      return;
    }
    if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value as { readonly [key: string]: Shown });
      lines.push(entries.length === 0 ? `${head} {}` : head);
      for (const [name, one] of entries) write(name, one, [...path, name], `${indent}  `);
      return;
    }
    lines.push(`${head} ${scalar(value)}${origin(path)}`);
  };
  for (const [key, value] of Object.entries(showValue(loaded))) write(key, value, [key], "");
  return `${lines.join("\n")}\n`;
}

/** One line, quoted where YAML would read something else. */
const scalar = (value: Shown): string =>
  typeof value === "string" && value.includes("\n") ? JSON.stringify(value) : stringify(value, { lineWidth: 0, version: "1.2" }).trimEnd();

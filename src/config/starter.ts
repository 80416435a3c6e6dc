import { parse } from "yaml";
import { profiles } from "./profiles/index.ts";

/** The file that `config init` writes: it works as it stands, and each line in a comment works once uncommented. */
export function starterFile(profile: string, schemaFile: string): string {
  const { description, engines, sources } = parse(profiles[profile] ?? "") as {
    description?: string;
    engines?: Record<string, { kind: string }>;
    sources?: Record<string, unknown>;
  };
  const [engine, settings] = Object.entries(engines ?? {})[0] ?? [];
  return [
    `# yaml-language-server: $schema=${schemaFile}`,
    "# fettle's configuration. `fettle config check` finds mistakes, `fettle config show` prints all values with their origin.",
    "# Maps are merged key by key with the profile below; lists replace; extraArgs are appended; null removes a key.",
    "# ${NAME} and ${NAME:-default} take a value from the environment.",
    "",
    `# ${description ?? profile}. Others: ${Object.keys(profiles).join(", ")}.`,
    `extends: ${profile}`,
    "",
    "# log:",
    "#   format: json        # auto, pretty, plain or json",
    "#   level: debug        # error, warn, info or debug",
    "",
    "# stateDir: /workspace/fettle   # journal and results; on a local disk",
    "",
    ...(engine && settings ? engineLines(engine, settings.kind) : []),
    ...(sources && "http" in sources
      ? ["# sources:", "#   http:", "#     listen: 0.0.0.0   # open the job API to other machines …", "#     apiKey: ${API_KEY}   # … and ask for a key", ""]
      : []),
    "# services:",
    "#   tensorboard:",
    "#     command: [tensorboard, --logdir, /workspace/logs]",
    ...(engine ? [`#     dependsOn: { ${engine}: ready }`] : []),
    "#     restart: { policy: on-failure }",
    "",
    "# stop:",
    "#   budget: 25s         # then also run the container with `docker stop -t 30`",
    "",
  ].join("\n");
}

function engineLines(name: string, kind: string): string[] {
  const own: Record<string, readonly string[]> = {
    a1111: ["#     extraArgs: [--medvram]   # appended to the profile's arguments"],
    diffusers: ["#     model: /models/sd-xl.safetensors   # a diffusers folder or a single file", "#     device: cuda"],
  };
  return ["# engines:", `#   ${name}:`, ...(own[kind] ?? []), '#     env: { HF_HUB_OFFLINE: "1" }', ""];
}

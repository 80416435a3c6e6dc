/**
 * The supervisors under comparison: for each, how the same services are written down in its own words and how it is started.
 * None but s6 and fettle knows readiness; the others get the loop that start scripts have: ask every 0.2 s, then go on.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface BenchService {
  readonly name: string;
  readonly argv: readonly string[];
  readonly port: number;
  readonly after?: { readonly name: string; readonly port: number };
}

export interface Stage {
  readonly dir: string;
  readonly services: readonly BenchService[];
}

export interface Launch {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The service's output ends up in files whose path begins so. */
  logOf(name: string): string;
}

export interface Side {
  readonly name: string;
  /** Writes the stage down; starts nothing. */
  prepare(stage: Stage): Launch;
}

/** Rotation for all that can: so many bytes a file, so many files. */
const rotation = { bytes: 10_000_000, files: 5 };

const file = (path: string, text: string, mode = 0o644) => {
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
};
const quote = (argv: readonly string[]) => argv.map((word) => `'${word}'`).join(" ");
/** Without curl, which many an image lacks and which would cost more. */
const waitFor = (port: number) => `until (exec 3<>/dev/tcp/127.0.0.1/${port}) 2>/dev/null; do sleep 0.2; done`;
const waitThenRun = ({ argv, after }: BenchService) => (after ? `${waitFor(after.port)}; exec ${quote(argv)}` : `exec ${quote(argv)}`);

export function fettle(program: string, sideName = "fettle", log: "pipe" | "direct" = "pipe"): Side {
  return {
    name: sideName,
    prepare({ dir, services }) {
      const service = ({ name, argv, port, after }: BenchService) =>
        `  ${name}:
    command: ${JSON.stringify(argv)}
    console: false${log === "direct" ? "\n    log: direct" : ""}
    readiness: { http: "http://127.0.0.1:${port}/", period: 200ms }
${after ? `    dependsOn: { ${after.name}: ready }\n` : ""}`;
      const folders = `stateDir: ${dir}/state\nlogDir: ${dir}/log\nruntimeDir: ${dir}/run\n`;
      file(join(dir, "fettle.yaml"), `services:\n${services.map(service).join("")}health: { port: 0 }\n${folders}`);
      const launcher = program.endsWith(".ts") ? [process.execPath] : [];
      return { argv: [...launcher, program, "start", "--config", join(dir, "fettle.yaml")], logOf: (one) => join(dir, "log", `${one}.log`) };
    },
  };
}

/** What GPU images ship, with the trap that most of them lack. */
export const bash: Side = {
  name: "bash",
  prepare({ dir, services }) {
    const start = (one: BenchService) => `${one.after ? `${waitFor(one.after.port)}\n` : ""}${quote(one.argv)} >>'${dir}/${one.name}.log' 2>&1 &`;
    const lines = ["#!/bin/bash", "trap 'kill $(jobs -p); wait; exit 0' TERM", ...services.map(start), "wait", "wait"];
    file(join(dir, "start.sh"), `${lines.join("\n")}\n`, 0o755);
    return { argv: ["/bin/bash", join(dir, "start.sh")], logOf: (name) => join(dir, `${name}.log`) };
  },
};

export const supervisord = (bin: string): Side => ({
  name: "supervisord",
  prepare({ dir, services }) {
    const section = (one: BenchService) => {
      file(join(dir, `${one.name}.sh`), `#!/bin/bash\n${waitThenRun(one)}\n`, 0o755);
      return `[program:${one.name}]
command=${dir}/${one.name}.sh
redirect_stderr=true
stdout_logfile=${dir}/${one.name}.log
stdout_logfile_maxbytes=${rotation.bytes}
stdout_logfile_backups=${rotation.files - 1}
`;
    };
    const head = `[supervisord]\nnodaemon=true\nlogfile=${dir}/supervisord.log\npidfile=${dir}/supervisord.pid\nchildlogdir=${dir}\nuser=root\n`;
    file(join(dir, "supervisord.conf"), `${head}${services.map(section).join("")}`);
    return { argv: [join(bin, "supervisord"), "-c", join(dir, "supervisord.conf")], logOf: (name) => join(dir, `${name}.log`) };
  },
});

export const pm2 = (bin: string): Side => ({
  name: "pm2",
  prepare({ dir, services }) {
    const app = (one: BenchService) => ({
      name: one.name,
      script: "/bin/bash",
      args: ["-c", waitThenRun(one)],
      interpreter: "none",
      out_file: join(dir, `${one.name}.log`),
      error_file: join(dir, `${one.name}.log`),
    });
    file(join(dir, "pm2.json"), JSON.stringify({ apps: services.map(app) }));
    return { argv: [join(bin, "pm2-runtime"), "start", join(dir, "pm2.json")], env: { PM2_HOME: join(dir, "pm2") }, logOf: (name) => join(dir, `${name}.log`) };
  },
});

export const s6 = (bin: string): Side => ({
  name: "s6",
  prepare({ dir, services }) {
    for (const one of services) {
      const folder = join(dir, "services", one.name);
      // The other's supervisor may not be there yet at the first try.
      const wait = one.after ? `until ${bin}/s6-svwait -U ../${one.after.name} 2>/dev/null; do sleep 0.01; done\n` : "";
      file(join(folder, "run"), `#!/bin/sh\n${wait}NOTIFY_FD=3 exec ${quote(one.argv)} 2>&1\n`, 0o755);
      file(join(folder, "notification-fd"), "3\n");
      file(join(folder, "log", "run"), `#!/bin/sh\nexec ${bin}/s6-log n${rotation.files + 1} s${rotation.bytes} '${dir}/log/${one.name}'\n`, 0o755);
      mkdirSync(join(dir, "log"), { recursive: true });
    }
    return { argv: [join(bin, "s6-svscan"), join(dir, "services")], logOf: (name) => join(dir, "log", name) };
  },
});

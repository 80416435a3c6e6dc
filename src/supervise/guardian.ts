import { reasonOf } from "../errors/fettle-error.ts";
import { readProcess } from "./process-table.ts";
import { type RunningProcess, startProcess } from "./start-process.ts";

/**
 * Outlives the supervisor by a moment: a shell in a session of its own that reads a pipe only the supervisor can write to.
 * When the supervisor vanishes (SIGKILL, out of memory) the pipe ends, and the shell ends every group it was told of and
 * every process that carries the instance's marker. A shell, because a second copy of this binary would cost 5 MB and
 * a parent-death signal covers direct children only.
 */
export interface Guardian {
  /** Its own process, while there is one. */
  readonly pids: ReadonlySet<number>;
  /** The PID file is removed with the process, unless it names another one by then. */
  add(pid: number, pidFile: string): void;
  remove(pid: number): void;
  /** Ends the guardian; nobody is hurt. */
  close(): Promise<void>;
}

// `$1` is the marker. A dead leader's pid cannot be used again while its group lives, so the start time decides:
// another start time means that the group is long gone and the pid is a stranger's.
const script = String.raw`
trap '' TERM INT HUP QUIT
marker=$1
set --
while read -r word pid ticks file; do
  case $word in
    add) set -- "$@" "$pid:$ticks:$file" ;;
    remove) for one do shift; [ "\${one%%:*}" = "$pid" ] || set -- "$@" "$one"; done ;;
    quit) exit 0 ;;
  esac
done
stranger() {
  stat=
  { read -r stat < "/proc/$1/stat"; } 2>/dev/null || return 1
  ticks=$2
  set -- \${stat##*) }
  [ "\${20}" != "$ticks" ]
}
of() {
  pid=\${1%%:*}; ticks=\${1#*:}; file=\${ticks#*:}; ticks=\${ticks%%:*}
}
each() {
  signal=$1; shift
  for one do of "$one"; stranger "$pid" "$ticks" || kill -"$signal" -- "-\${one%%:*}" 2>/dev/null; done
  for file in $(grep -l -a -F -e "$marker" /proc/[0-9]*/environ 2>/dev/null); do
    pid=\${file#/proc/}; kill -"$signal" "\${pid%%/*}" 2>/dev/null
  done
}
each TERM "$@"
for turn in 1 2 3 4 5 6 7 8 9 10; do
  alive=
  for one do kill -0 -- "-\${one%%:*}" 2>/dev/null && alive=1; done
  [ -z "$alive" ] && break
  sleep 0.1 2>/dev/null || sleep 1
done
each KILL "$@"
for one do
  of "$one"; named=
  { read -r named < "$file"; } 2>/dev/null
  [ "$named" != "$pid" ] || rm -f -- "$file"
done
`.replaceAll("\\${", "${");

export interface GuardianOptions {
  readonly marker: string;
  readonly env: Readonly<Record<string, string>>;
  onLost(reason: string): void;
}

/** Starts the guardian; without a shell on the machine it reports that and does nothing. A killed one is replaced. */
export function startGuardian({ marker, env, onLost }: GuardianOptions): Guardian {
  const guarded = new Map<number, string>();
  const argv = ["/bin/sh", "-c", script, "fettle-guardian", marker];
  let shell: RunningProcess | undefined;
  let closing = false;
  let losses = 0;
  const open = async (): Promise<void> => {
    try {
      shell = await startProcess({ argv, env, cwd: "/", stdin: "pipe", output: "ignore" });
    } catch (error) {
      return onLost(reasonOf(error));
    }
    void shell.exited.then(({ code, signal }) => lose(`it ended with ${code ?? signal}`));
    for (const [pid, rest] of guarded) write(`add ${pid} ${rest}`);
  };
  const lose = (reason: string) => {
    shell = undefined;
    if (closing) return;
    losses++;
    onLost(reason);
    if (losses <= 5 && guarded.size > 0) opened = open();
  };
  const write = (line: string) => shell?.write(`${line}\n`);
  let opened = open();
  return {
    get pids() {
      return new Set(shell?.pid === undefined ? [] : [shell.pid]);
    },
    add(pid, pidFile) {
      const rest = `${readProcess(pid)?.startTicks ?? 0} ${pidFile}`;
      guarded.set(pid, rest);
      write(`add ${pid} ${rest}`);
    },
    remove(pid) {
      if (guarded.delete(pid)) write(`remove ${pid}`);
    },
    async close() {
      closing = true;
      await opened;
      const ended = shell;
      ended?.write("quit\n");
      ended?.endInput();
      await ended?.exited;
    },
  };
}

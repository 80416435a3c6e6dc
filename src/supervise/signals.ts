import { constants } from "node:os";
import { isatty } from "node:tty";

/** The number of a signal, for exit codes 128 + n; 0 for one this system does not know. */
export function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : (constants.signals[signal] ?? 0);
}

/** Calls back for every SIGHUP until ended: the configuration may have changed. */
export const watchHangup = (onHangup: () => void): SignalWatch => watch("SIGHUP", onHangup);

/** Calls back for every SIGUSR1 until ended: log files have been moved away, as with nginx. */
export const watchReopen = (onReopen: () => void): SignalWatch => watch("SIGUSR1", onReopen);

function watch(signal: NodeJS.Signals, onSignal: () => void): SignalWatch {
  process.on(signal, onSignal);
  return { end: () => void process.off(signal, onSignal) };
}

/** The terminal that this process was started on, if there was one, is gone: a SIGHUP then means that, and nothing else. */
export function watchTerminal(): () => boolean {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  return () => terminals.length > 0 && !terminals.some((fd) => isatty(fd));
}

export interface SignalWatch {
  end(): void;
}

/** Calls back for every SIGTERM and SIGINT until ended. As PID 1 the kernel drops signals nobody handles, so this comes first of all. */
export function watchSignals(onSignal: (signal: "SIGTERM" | "SIGINT") => void): SignalWatch {
  const onTerm = () => onSignal("SIGTERM");
  const onInt = () => onSignal("SIGINT");
  process.on("SIGTERM", onTerm).on("SIGINT", onInt);
  return {
    end() {
      process.off("SIGTERM", onTerm).off("SIGINT", onInt);
    },
  };
}

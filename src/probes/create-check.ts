import type { ProbeTarget } from "../plan/probe-spec.ts";
import { type Check, refused } from "./check.ts";
import { execCheck, type RunCommand } from "./exec.ts";
import { fileCheck } from "./file.ts";
import { httpCheck } from "./http.ts";
import { logLineCheck } from "./log-line.ts";
import { tcpCheck } from "./tcp.ts";

export interface ProbeSurroundings {
  readonly run: RunCommand;
  /** Called once per log-line probe with the function that takes the lines. */
  onLines(feed: (line: string) => void): void;
  /** The check for `fd`: the descriptor must exist before the program starts, so it is made elsewhere. */
  readonly notified?: Check;
}

/** The check for a target of the plan. */
export function createCheck(target: ProbeTarget, { run, onLines, notified }: ProbeSurroundings): Check {
  switch (target.type) {
    case "http":
      return httpCheck(target.url);
    case "tcp":
      return tcpCheck(target.host, target.port);
    case "exec":
      return execCheck(target.argv, run);
    case "file":
      return fileCheck(target.path);
    case "fd":
      return notified ?? (() => Promise.resolve(refused("it was given no fd 3")));
    case "log-line": {
      const { check, feed } = logLineCheck(target.pattern);
      onLines(feed);
      return check;
    }
  }
}

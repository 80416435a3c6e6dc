import { reasonOf } from "../errors/fettle-error.ts";
import { type Check, type CheckResult, passed, refused } from "./check.ts";
import { openSocket } from "./open-socket.ts";

/** Opens a connection and closes it again; an accepted one counts. */
export function tcpCheck(host: string, port: number): Check {
  return ({ signal }) =>
    new Promise<CheckResult>((resolve) => {
      const end = (result: CheckResult) => {
        signal.removeEventListener("abort", cut);
        socket.destroy();
        resolve(result);
      };
      const cut = () => end(refused("no answer in time"));
      const socket = openSocket(host, port, {
        onOpen: () => end(passed),
        onBytes: () => undefined,
        onEnd: (error) => end(refused(error ? reasonOf(error) : "the connection was closed")),
      });
      signal.addEventListener("abort", cut, { once: true });
    });
}

import { connect } from "node:net";
import { reasonOf } from "../errors/fettle-error.ts";
import { type Check, type CheckResult, passed, refused } from "./check.ts";

/** Opens a connection and closes it again; an accepted one counts. */
export function tcpCheck(host: string, port: number): Check {
  return ({ signal }) =>
    new Promise<CheckResult>((resolve) => {
      const socket = connect({ host, port });
      const end = (result: CheckResult) => {
        signal.removeEventListener("abort", cut);
        socket.destroy();
        resolve(result);
      };
      const cut = () => end(refused("no answer in time"));
      socket.once("connect", () => end(passed)).on("error", (error) => end(refused(reasonOf(error))));
      signal.addEventListener("abort", cut, { once: true });
    });
}

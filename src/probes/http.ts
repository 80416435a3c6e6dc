import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { reasonOf } from "../errors/fettle-error.ts";
import { type Check, type CheckResult, passed, refused } from "./check.ts";

/** GET on a fresh connection; any 2xx answer counts. The status line decides, the body is read and dropped. */
export function httpCheck(url: string): Check {
  const request = url.startsWith("https:") ? requestHttps : requestHttp;
  return ({ signal }) =>
    new Promise<CheckResult>((resolve) => {
      const attempt = start(() => request(url, { agent: false, headers: { connection: "close" } }), resolve);
      if (!attempt) return;
      const cut = () => void attempt.destroy();
      let listening = false;
      const end = (result: CheckResult) => {
        signal.removeEventListener("abort", cut);
        resolve(listening && !result.ok ? { ...result, listening } : result);
      };
      attempt.once("socket", (socket) => socket.once("connect", () => (listening = true)));
      attempt.once("response", (response) => {
        const status = response.statusCode ?? 0;
        response.on("error", () => undefined).resume();
        end(status >= 200 && status < 300 ? passed : refused(`it answers ${status}`));
      });
      attempt.on("error", (error) => end(refused(signal.aborted ? "no answer in time" : reasonOf(error))));
      attempt.once("close", () => end(refused("the connection was closed without an answer")));
      signal.addEventListener("abort", cut, { once: true });
      attempt.end();
    });
}

function start<T>(open: () => T, resolve: (result: CheckResult) => void): T | undefined {
  try {
    return open();
  } catch (error) {
    resolve(refused(reasonOf(error)));
    return undefined;
  }
}

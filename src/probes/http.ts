import { reasonOf } from "../errors/fettle-error.ts";
import { type Check, type CheckResult, passed, refused } from "./check.ts";
import { openSocket } from "./open-socket.ts";

/** After the status line the body is taken and dropped for so long: a program that is cut off in mid-answer may complain in its log. */
const bodyMs = 5000;
const maxStatusLine = 1024;

/**
 * GET on a fresh connection; any 2xx answer counts. The status line decides, so this speaks HTTP by hand: a tenth of the cost of
 * the runtime's client, and neither redirects nor a proxy of the environment come into it.
 */
export function httpCheck(text: string): Check {
  const url = URL.parse(text);
  if (!url) return () => Promise.resolve(refused(`${text} is not a URL`));
  if (url.protocol === "https:") return httpsCheck(url);
  const request = requestOf(url);
  return ({ signal }) =>
    new Promise<CheckResult>((resolve) => {
      let isListening = false;
      let answer = "";
      const end = (result: CheckResult) => {
        signal.removeEventListener("abort", cut);
        resolve(isListening && !result.ok ? { ...result, listening: true } : result);
      };
      const cut = () => {
        socket.destroy();
        end(refused("no answer in time"));
      };
      let late: NodeJS.Timeout | undefined;
      const socket = openSocket(url.hostname.replace(/^\[|\]$/g, ""), Number(url.port || 80), {
        onOpen() {
          isListening = true;
          socket.write(request);
        },
        onBytes(bytes) {
          if (late !== undefined) return;
          answer += Buffer.from(bytes).toString("latin1", 0, maxStatusLine);
          if (!answer.includes("\n") && answer.length < maxStatusLine) return;
          late = setTimeout(() => socket.destroy(), bodyMs).unref();
          end(judge(answer));
        },
        onEnd(error) {
          clearTimeout(late);
          end(refused(error ? reasonOf(error) : "the connection was closed without an answer"));
        },
      });
      signal.addEventListener("abort", cut, { once: true });
    });
}

function requestOf({ pathname, search, host, username, password }: URL): string {
  const who = username ? `authorization: Basic ${btoa(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)}\r\n` : "";
  return `GET ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\naccept: */*\r\nuser-agent: fettle\r\n${who}connection: close\r\n\r\n`;
}

function judge(answer: string): CheckResult {
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1];
  if (status === undefined) return refused("it does not answer in HTTP");
  return status.startsWith("2") ? passed : refused(`it answers ${status}`);
}

/** Rare enough for the runtime's own client, which is loaded only then. */
function httpsCheck(url: URL): Check {
  return async ({ signal }) => {
    const { request } = await import("node:https");
    return await new Promise<CheckResult>((resolve) => {
      const attempt = request(url, { agent: false, headers: { connection: "close" } });
      const cut = () => void attempt.destroy();
      const end = (result: CheckResult) => {
        signal.removeEventListener("abort", cut);
        resolve(result);
      };
      attempt.once("response", (response) => {
        response.on("error", () => undefined).resume();
        end(judge(`HTTP/1.1 ${response.statusCode ?? 0}`));
      });
      attempt.on("error", (error) => end(refused(signal.aborted ? "no answer in time" : reasonOf(error))));
      attempt.once("close", () => end(refused("the connection was closed without an answer")));
      signal.addEventListener("abort", cut, { once: true });
      attempt.end();
    });
  };
}

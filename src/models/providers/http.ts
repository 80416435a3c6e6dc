import { isPublicHost } from "../is-public-host.ts";
import { Fault } from "../fault.ts";
import type { ModelSource } from "../model-source.ts";
import type { Provider } from "./provider.ts";

/** Any https address; plain http only inside (loopback, private addresses). A user and password in it go to that origin alone. */
export const http: Provider<Extract<ModelSource, { kind: "http" }>> = {
  async locate({ url: text }, _settings, { signal }) {
    const url = new URL(text);
    const basic = url.username || url.password ? `Basic ${Buffer.from(decodeURIComponent(`${url.username}:${url.password}`)).toString("base64")}` : undefined;
    url.username = url.password = "";
    if (url.protocol === "http:" && (await isPublicHost(url.hostname, { signal })))
      throw new Fault("model.bad-source", `${url.hostname} is asked over plain http, where anybody on the way can change a model`, { hint: "Use https." });
    return {
      url,
      authorize: ({ origin }) => (origin === url.origin ? basic : undefined),
      told: () => ({}),
      explain(status, host) {
        if (status !== 401 && status !== 403) return undefined;
        return new Fault(status === 401 ? "model.unauthorized" : "model.forbidden", `${host} answers with HTTP ${status}`, {
          hint: basic ? "Check the user and password in the URL." : "It asks for a login: download it by hand, or use a URL that needs none.",
        });
      },
    };
  },
};

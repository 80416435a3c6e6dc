import type { IncomingHttpHeaders } from "node:http";
import { Fault } from "../fault.ts";
import type { ModelSource } from "../model-source.ts";
import type { Provider } from "./provider.ts";

/** Files of the Hugging Face Hub, or of the mirror that HF_ENDPOINT names. LFS files come with their sha256. */
export const huggingface: Provider<Extract<ModelSource, { kind: "huggingface" }>> = {
  async locate({ repo, file, revision }, { huggingface: { url: base, token } }) {
    const path = file.split("/").map(encodeURIComponent).join("/");
    const url = new URL(`${base}/${repo}/resolve/${encodeURIComponent(revision)}/${path}`);
    return {
      url,
      authorize: ({ origin }) => (origin === url.origin && token ? `Bearer ${token}` : undefined),
      fileName: file.split("/").at(-1) ?? file,
      told: linked,
      explain: (status) => explain(status, { repo, file, revision, hasToken: token !== undefined }),
    };
  },
};

function linked(hops: readonly IncomingHttpHeaders[]): { sha256?: string; sizeBytes?: number } {
  const header = (name: string) => hops.map((headers) => headers[name]).find((value) => typeof value === "string") as string | undefined;
  const sha256 = /^(?:W\/)?"?([0-9a-f]{64})"?$/.exec(header("x-linked-etag") ?? "")?.[1];
  const size = Number(header("x-linked-size"));
  return { ...(sha256 && { sha256 }), ...(size > 0 && Number.isSafeInteger(size) && { sizeBytes: size }) };
}

interface Asked {
  readonly repo: string;
  readonly file: string;
  readonly revision: string;
  readonly hasToken: boolean;
}

function explain(status: number, { repo, file, revision, hasToken }: Asked): Fault | undefined {
  switch (status) {
    case 401:
      // The Hub says 401 for a repository that does not exist, too: it does not tell strangers which are private.
      return hasToken
        ? new Fault("model.unauthorized", "Hugging Face does not accept HF_TOKEN", {
            hint: `Make a new token, and check that ${repo} exists and you may read it.`,
          })
        : new Fault("model.unauthorized", `${repo} needs a login, or does not exist`, { hint: "Check the name, and set HF_TOKEN." });
    case 403:
      return new Fault("model.forbidden", `Hugging Face gives no access to ${repo}`, {
        hint: hasToken ? `Accept its licence on its page, and give the token the right to read it.` : "Set HF_TOKEN, and accept the licence on its page.",
      });
    case 404:
      return new Fault("model.not-found", `${repo} has no file ${file} at ${revision}`, { hint: "Check the repository, the path inside it and the revision." });
    default:
      return undefined;
  }
}

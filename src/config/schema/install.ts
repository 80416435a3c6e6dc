import { z } from "zod";
import { text, word } from "./scalars.ts";

const gitUrl = word.regex(/^(?!-)(?!ext::)/, "expected a repository's address");
const gitRef = word.regex(/^[\w][\w./@-]*$/, "expected a branch, a tag or a commit");

const node = z.strictObject({
  name: z
    .string()
    .regex(/^(?!\.)[\w.-]{1,100}$/, "expected a folder's name: letters, digits, dot, dash and underscore")
    .meta({ description: "Its folder under custom_nodes." }),
  url: gitUrl.meta({ description: "A git repository: https, ssh, or a folder." }),
  commit: gitRef.default("HEAD").meta({ description: "A commit, so that two builds are the same; or a tag or a branch." }),
});

const comfyui = z.strictObject({
  repository: gitUrl.default("https://github.com/comfyanonymous/ComfyUI.git").meta({ description: "Where ComfyUI comes from." }),
  ref: gitRef.default("HEAD").meta({ description: "A tag, a branch or a commit; HEAD is what the repository shows first." }),
  directory: word.default("/ComfyUI").meta({ description: "Where it is cloned; its virtual environment is DIRECTORY/.venv." }),
  python: text.default("python3").meta({ description: "The Python that the virtual environment is made with." }),
  nodes: z
    .array(node)
    .default([])
    .refine((nodes) => new Set(nodes.map((one) => one.name)).size === nodes.length, { message: "expected each name once" })
    .meta({ description: "Custom nodes; cloned five at a time, their requirements resolved together." }),
});

/** What `fettle install` bakes into an image. */
export const install = z
  .strictObject({ comfyui: comfyui.optional().meta({ description: "ComfyUI at a ref, with its custom nodes, in an environment of its own." }) })
  .prefault({})
  .meta({ description: "What `fettle install` puts in place." });

export type ComfyuiInstallConfig = z.output<typeof comfyui>;

import { z } from "zod";
import { duration, flag, name, port, text, url, word } from "./scalars.ts";

const onFailure = z
  .enum(["fail", "continue", "warn"])
  .default("fail")
  .meta({ description: "fail: the steps end here. continue: the next step follows, and the task fails in the end. warn: said, and that is all." });
const mode = z
  .string({ error: 'expected a mode in quotes, such as "0600"' })
  .regex(/^0?[0-7]{3}$/, 'expected a mode in quotes, such as "0600"')
  .meta({ description: 'Rights in octal, in quotes: "0600".' });

const directories = z.strictObject({
  directories: z
    .array(word)
    .min(1, { error: "expected at least one folder" })
    .meta({ description: "Folders to make, with those above them; existing ones stay." }),
  mode: mode.optional(),
  onFailure,
});

const links = z.strictObject({
  links: z
    .array(z.strictObject({ path: word.meta({ description: "The link itself." }), to: word.meta({ description: "What it leads to; it must exist." }) }))
    .min(1, { error: "expected at least one link" })
    .meta({ description: "Symbolic links." }),
  onFolder: z
    .enum(["move", "keep", "fail"])
    .default("move")
    .meta({ description: "A real file or folder where the link shall be. move: set aside as NAME.before-link. keep: it stays, with a warning." }),
  onFailure,
});

const write = z.strictObject({
  write: z
    .strictObject({
      path: word.meta({ description: "The file." }),
      text: text.optional().meta({ description: "Its content." }),
      yaml: z.unknown().optional().meta({ description: "Its content, written as YAML." }),
      comment: text.optional().meta({ description: "A line of comment above the content." }),
      mode: mode.optional(),
      block: word.optional().meta({ description: "Only the block with this name is written, between two marks; the rest of the file stays." }),
    })
    .meta({ description: "A file whose content is given; written only when it differs." }),
  onFailure,
});

/** The folders of a volume as ComfyUI finds them; also what an engine of kind comfyui may be told. */
export const modelFolders = z
  .record(word, z.union([word, z.array(word).min(1)], { error: "expected a folder, or a list of folders" }))
  .default({})
  .meta({ description: "Folders under other names, or more kinds of models than ComfyUI and its usual nodes know: kind to folder below the models." });

const modelPaths = z.strictObject({
  modelPaths: z
    .strictObject({
      write: word.meta({ description: "The file, ComfyUI's extra_model_paths.yaml." }),
      models: word.meta({ description: "The folder of models; it comes first, so that what ComfyUI downloads goes there." }),
      folders: modelFolders,
      customNodes: word.optional().meta({ description: "A folder of more custom nodes." }),
      make: flag.default(true).meta({ description: "Make the folders that are missing." }),
    })
    .meta({ description: "Where ComfyUI finds models outside of its own folder, of every kind it knows." }),
  onFailure,
});

const check = z.strictObject({
  check: z
    .strictObject({
      exists: word.optional().meta({ description: "A path that must exist." }),
      writable: word.optional().meta({ description: "A folder in which a file can be made." }),
      mounted: word.optional().meta({ description: "A folder that a volume is mounted on." }),
      http: url.optional().meta({ description: "A URL; any 2xx answer counts." }),
      tcp: port.optional().meta({ description: "A port on this machine that accepts a connection." }),
      service: name.optional().meta({ description: "A service that must be ready; one that does not run here by intent is skipped." }),
    })
    .refine((value) => Object.values(value).filter((one) => one !== undefined).length === 1, {
      error: "expected exactly one of exists, writable, mounted, http, tcp and service",
    })
    .meta({ description: "Something that must be true." }),
  title: text.optional().meta({ description: "What is checked, in words." }),
  timeout: duration.default(5000).meta({ description: "It must be true within this time; asked again until then." }),
  onFailure,
});

/** One step of the built-in kinds; exactly one of directories, links, write, modelPaths and check says which. */
export const step = z.union([directories, links, write, modelPaths, check], {
  error: "expected exactly one of directories, links, write, modelPaths and check",
});

export type StepConfig = z.output<typeof step>;

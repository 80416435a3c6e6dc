import { z } from "zod";
import { word } from "./scalars.ts";

export const results = z
  .strictObject({
    files: z
      .strictObject({
        dir: word.meta({ description: "The folder." }),
        template: word.default("{job}-{index}.{ext}").meta({ description: "The file's name." }),
      })
      .optional()
      .meta({ description: "Also write each image into a folder." }),
  })
  .prefault({})
  .meta({ description: "Where images go besides the answer." });

// The picture helper as text, so that it travels inside the binary; a test checks that every file of helper/ is in the table.
import exif from "./helper/exif.py" with { type: "text" };
import pictures from "./helper/pictures.py" with { type: "text" };

export const helperFiles: Readonly<Record<string, string>> = {
  "exif.py": exif,
  "pictures.py": pictures,
};

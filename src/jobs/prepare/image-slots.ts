import { type Body, isObject } from "./invalid.ts";

/** A place in a job's body where an image stands as text. */
export interface ImageSlot {
  readonly keys: readonly (string | number)[];
  /** As messages name it: `input.init_images[0]`. */
  readonly path: string;
  readonly text: string;
  /** Where anything but an image is a mistake; elsewhere only a URL is taken for one. */
  readonly isImage: boolean;
}

/** Top-level fields of A1111's calls that hold an image. */
const fields = ["mask", "latent_mask", "image"];
/** Keys of scripts' arguments that hold one: ControlNet's, and those of its kin. */
const argumentKeys = new Set(["image", "mask", "mask_image", "input_image", "init_image", "effective_region_mask", "ipadapter_input"]);

/**
 * Every image of an A1111 request. A script's argument that is nothing but a URL counts as one as well: scripts hand such text to the
 * engine's own decoder, which would fetch it with less care.
 */
export function findImageSlots(body: Body, at: string): readonly ImageSlot[] {
  const slots: ImageSlot[] = [];
  const add = (keys: readonly (string | number)[], text: unknown, isImage: boolean) => {
    if (typeof text === "string" && text !== "" && (isImage || isUrl(text))) slots.push({ keys, path: pathOf(at, keys), text, isImage });
  };
  const inList = (key: string) => {
    const list = body[key];
    if (Array.isArray(list)) list.forEach((one: unknown, index) => add([key, index], one, true));
  };
  const inArguments = (keys: readonly (string | number)[], value: unknown, isImage: boolean) => {
    if (typeof value === "string") add(keys, value, isImage);
    else if (Array.isArray(value)) value.forEach((one: unknown, index) => inArguments([...keys, index], one, isImage));
    else if (isObject(value)) for (const [key, inner] of Object.entries(value)) inArguments([...keys, key], inner, argumentKeys.has(key));
  };
  inList("init_images");
  for (const field of fields) add([field], body[field], true);
  for (const key of ["imageList", "images"]) {
    const list = body[key];
    const inner = key === "images" ? "image" : "data";
    if (Array.isArray(list)) list.forEach((one: unknown, index) => isObject(one) && add([key, index, inner], one[inner], true));
  }
  for (const key of ["alwayson_scripts", "script_args"]) inArguments([key], body[key], false);
  return slots;
}

/** As engines see it: whatever begins so is asked for, even with blanks in it. */
export function isUrl(text: string): boolean {
  return /^\s*https?:\/\//i.test(text);
}

/** The same body with other values in some places; whatever lies beside them is shared with the old one. */
export function replaceAt(body: Body, changes: readonly { readonly keys: readonly (string | number)[]; readonly value: unknown }[]): Body {
  return changes.reduce<unknown>((whole, { keys, value }) => replaceOne(whole, keys, value), body) as Body;
}

function replaceOne(whole: unknown, [key, ...rest]: readonly (string | number)[], value: unknown): unknown {
  if (key === undefined) return value;
  const inner = replaceOne((whole as Readonly<Record<string | number, unknown>>)[key], rest, value);
  if (Array.isArray(whole)) return whole.map((one: unknown, index) => (index === key ? inner : one));
  return { ...(whole as Body), [key]: inner };
}

function pathOf(at: string, keys: readonly (string | number)[]): string {
  return keys.reduce<string>((path, key) => (typeof key === "number" ? `${path}[${key}]` : `${path}.${key.slice(0, 60)}`), at);
}

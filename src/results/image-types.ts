/** The formats images are handed out in. */
export type ImageFormat = "png" | "jpeg" | "webp";

const extensions: Readonly<Record<string, string>> = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };

export function extensionOf(mime: string): string {
  return extensions[mime] ?? "bin";
}

export function mimeOf(format: ImageFormat): string {
  return `image/${format}`;
}

/** A storage service's address as a person or a platform writes it, `https://` left out or not; or what is wrong with it, without its secrets. */
export function readEndpoint(endpoint: string): URL | string {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  if (!URL.canParse(text)) return "it is not a URL";
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return "it must begin with http:// or https://";
  if (url.username || url.password) return "keys do not belong into the address";
  return url.search || url.hash ? "it has a query" : url;
}

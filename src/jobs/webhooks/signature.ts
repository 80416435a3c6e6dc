import { createHmac } from "node:crypto";

// Why not the scheme's own library: it takes the whole body as one string, and a result of 15 MB is read in pieces here. The tests
// verify with the library.

/**
 * The headers of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over `ID.TIMESTAMP.BODY`. A secret that begins with `whsec_`
 * is base64 after that, any other is taken as it stands; without one the message has no signature.
 */
export async function signedHeaders(
  messageId: string,
  body: AsyncIterable<Uint8Array>,
  { secret, now }: { secret: string; now: number },
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(now / 1000));
  const headers = { "webhook-id": messageId, "webhook-timestamp": timestamp };
  if (secret === "") return headers;
  const hmac = createHmac("sha256", keyOf(secret));
  hmac.update(`${messageId}.${timestamp}.`);
  for await (const piece of body) hmac.update(piece);
  return { ...headers, "webhook-signature": `v1,${hmac.digest("base64")}` };
}

function keyOf(secret: string): Buffer {
  return secret.startsWith("whsec_") ? Buffer.from(secret.slice("whsec_".length), "base64") : Buffer.from(secret, "utf8");
}

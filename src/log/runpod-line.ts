const levels: Readonly<Record<string, string>> = { error: "ERROR", warn: "WARN", debug: "DEBUG" };
const longest = 4096;

/** One line as the RunPod SDK writes it on its platform, with the keys in its order; `requestId` is null outside a job. */
export function runpodLine(type: string, message: string, { job, service }: Readonly<Record<string, unknown>>): string {
  // The SDK in a service of the user has written such a line itself.
  if (type === "log" && message.startsWith('{"requestId"')) return message;
  const who = typeof service === "string" ? `${service} | ` : "";
  return JSON.stringify({ requestId: typeof job === "string" ? job : null, message: truncate(who + message), level: levels[type] ?? "INFO" });
}

/** RunPod's console takes so much of a message; beginning and end tell most. */
function truncate(message: string): string {
  if (message.length <= longest) return message;
  const half = longest / 2;
  return `${message.slice(0, half)}\n...TRUNCATED ${message.length - longest} CHARACTERS...\n${message.slice(-half)}`;
}

/** The callers of the HTTP bench, in a process of their own: `http-client.ts URL WAVES BYTES`, four jobs a wave, each result read whole. */
import { argv } from "node:process";

const [url = "", waves = "1", bytes = "0"] = argv.slice(2);
for (let wave = 0; wave < Number(waves); wave++) {
  const sizes = await Promise.all([1, 2, 3, 4].map((at) => run(`${wave}-${at}`)));
  if (sizes.some((size) => size < Number(bytes))) throw new Error(`A result is too short: ${sizes.join(", ")} bytes.`);
}

async function run(prompt: string): Promise<number> {
  const response = await fetch(`${url}/runsync`, { method: "POST", body: JSON.stringify({ input: { prompt, noop: { sizeBytes: Number(bytes) } } }) });
  let size = 0;
  for await (const chunk of response.body ?? []) size += chunk.byteLength;
  return size;
}

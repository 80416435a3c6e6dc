import { createHash } from "node:crypto";
import { canonicalJson } from "../../util/canonical-json.ts";
import type { Attempt } from "../engine.ts";
import { askJson, type Base } from "../request.ts";

const askMs = 5000;
/** Names files or code whose content nobody can see from here. */
const opaque = ["script_name", "alwayson_scripts", "refiner_checkpoint", "hr_checkpoint_name", "styles", "save_images", "fettle_template"];
const networks = /<(lora|lyco|hypernet):/;

/**
 * What decides an answer besides the job's own words: the checkpoint's hash and the engine's options. Undefined for a job without a seed
 * of its own, with networks, scripts or another checkpoint (their files may change behind their names), and while no hash is known.
 */
export async function answerKey(
  base: Base,
  kind: "a1111" | "diffusers",
  { input, call }: Attempt,
  { signal }: { signal: AbortSignal },
): Promise<string | undefined> {
  if (call !== undefined && !/\/sdapi\/v1\/(txt2img|img2img)$/.test(call)) return undefined;
  if (!isSeed(input["seed"]) || (Number(input["subseed_strength"] ?? 0) !== 0 && !isSeed(input["subseed"]))) return undefined;
  if (opaque.some((key) => isSet(input[key])) || isSet((input["override_settings"] as Record<string, unknown> | undefined)?.["sd_model_checkpoint"])) {
    return undefined;
  }
  if (["prompt", "negative_prompt", "hr_prompt"].some((key) => networks.test(String(input[key] ?? "")))) return undefined;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(askMs)]);
  const answer = await askJson(base, "/sdapi/v1/options", { signal: limited }).catch(() => undefined);
  if (answer?.status !== 200 || typeof answer.body !== "object" || answer.body === null) return undefined;
  const options = answer.body as Record<string, unknown>;
  if (!isSet(options["sd_checkpoint_hash"])) return undefined;
  return createHash("sha256")
    .update(canonicalJson([kind, options]))
    .digest("hex");
}

function isSeed(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

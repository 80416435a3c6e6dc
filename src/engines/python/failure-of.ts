import type { AttemptResult, EngineOutput } from "../engine.ts";
import type { ErrorFrame } from "./answer-frames.ts";

const longestReason = 2000;

/**
 * A handler's error as an attempt's ending. The caller gets RunPod's own text; code, message and remedy are for us. A fault of the GPU
 * may pass on a second try, unless pieces of the output are out already: nobody can take those back.
 */
export function failureOf(frame: ErrorFrame, output: EngineOutput, pieces: number): AttemptResult {
  const beside = frame.sizeBytes !== undefined || frame.refresh ? { output: withNotes(output, frame) } : {};
  const said = { ...(frame.text !== undefined && { text: frame.text }), ...beside };
  if (frame.how === "unusable" || frame.how === "unloaded")
    return { type: "failed", code: "handler.failed", message: frame.message, retryable: false, ...said };
  const reason = frame.message.length > longestReason ? `${frame.message.slice(0, longestReason)}…` : frame.message;
  const how = frame.how === "raised" ? "the handler raised" : "the handler answered with an error:";
  const message = `Cannot run the job: ${how} ${reason.replace(/\.$/, "")}.`;
  const retryable = pieces === 0;
  if (frame.fault === "out-of-memory") return { type: "failed", code: "engine.out-of-memory", message, retryable, remedy: "free-memory", ...said };
  if (frame.fault === "cuda-error") return { type: "failed", code: "engine.cuda-error", message, retryable, remedy: "restart", ...said };
  return { type: "failed", code: "handler.failed", message, retryable: false, ...said };
}

function withNotes(output: EngineOutput, { refresh, note }: ErrorFrame): EngineOutput {
  return { ...output, ...(refresh && { wantsRefresh: true }), ...(note !== undefined && { warnings: [...output.warnings, note] }) };
}

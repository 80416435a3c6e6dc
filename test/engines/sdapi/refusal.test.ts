import assert from "node:assert/strict";
import { test } from "node:test";
import { readRefusal } from "../../../src/engines/sdapi/refusal.ts";

// Bodies as the real programs send them: A1111 1.10.1, Forge (plain FastAPI), the bundled engine, proxies.
const validation = {
  detail: [
    { loc: ["body", "steps"], msg: "value is not a valid integer", type: "type_error.integer" },
    { loc: ["body", "init_images", 0], msg: "str type expected" },
  ],
};
const cases: [name: string, status: number, body: unknown, code: string, message: RegExp, details?: object][] = [
  ["wrong type", 422, validation, "engine.rejected", /: steps: value is not a valid integer; init_images\.0: str type expected\.$/, { field: "steps" }],
  ["unknown script", 422, { error: "HTTPException", detail: "Script 'x' not found", body: "", errors: "" }, "engine.rejected", /: Script 'x' not found\.$/],
  ["no image", 404, { detail: "Init image not found" }, "engine.rejected", /Init image not found\.$/],
  ["password", 401, { error: "HTTPException", detail: "Not authenticated", body: "", errors: "" }, "engine.rejected", /Not authenticated\.$/],
  ["bad image", 500, { error: "HTTPException", detail: "Invalid encoded image", body: "", errors: "" }, "engine.rejected", /Invalid encoded image\.$/],
  [
    "exception",
    500,
    { error: "ValueError", detail: "", body: "", errors: "height and width must be > 0" },
    "engine.failed",
    /: ValueError: height and width must be > 0\.$/,
    { error: "ValueError" },
  ],
  [
    "memory",
    500,
    { error: "OutOfMemoryError", detail: "", body: "", errors: "CUDA out of memory. Tried to allocate 2 GiB." },
    "engine.out-of-memory",
    /CUDA out of memory/,
  ],
  ["memory as text", 500, "torch.cuda.OutOfMemoryError: x", "engine.out-of-memory", /OutOfMemory/],
  ["host memory", 500, { error: "RuntimeError", errors: "[enforce fail] DefaultCPUAllocator: can't allocate memory" }, "engine.out-of-memory", /allocate/],
  ["cuBLAS memory", 500, { error: "RuntimeError", errors: "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x" }, "engine.out-of-memory", /CUBLAS/],
  ["assert", 500, { error: "RuntimeError", errors: "CUDA error: device-side assert triggered" }, "engine.cuda-error", /device-side assert/],
  ["address", 500, { error: "AcceleratorError", errors: "CUDA error: an illegal memory access was encountered" }, "engine.cuda-error", /illegal memory/],
  ["ECC", 500, { error: "RuntimeError", errors: "CUDA error: uncorrectable ECC error encountered" }, "engine.cuda-error", /ECC/],
  ["launch", 500, "RuntimeError: CUDA error: unspecified launch failure", "engine.cuda-error", /launch failure/],
  ["Xid", 500, "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "engine.cuda-error", /Xid/],
  ["wrong build", 500, { error: "RuntimeError", errors: "CUDA error: no kernel image is available for execution" }, "engine.failed", /no kernel image/],
  ["a caller's words", 500, { error: "ValueError", errors: "could not find upscaler named CUDA error: x" }, "engine.failed", /upscaler/],
  [
    "NaN",
    500,
    { error: "NansException", errors: "A tensor with NaNs was produced in Unet." },
    "engine.failed",
    /NansException: A tensor with NaNs/,
    { hint: "Start the engine with --no-half-vae, or --no-half; or use another VAE or checkpoint." },
  ],
  ["Forge", 500, "Internal Server Error", "engine.failed", /: Internal Server Error\.$/],
  ["HTML", 413, "<html><head><title>413</title></head><body><h1>Too Large</h1></body></html>", "engine.rejected", /: 413 Too Large\.$/],
  ["nothing", 500, "", "engine.failed", /: HTTP 500 without a reason\.$/],
  ["JSON that is no object", 500, "[1]", "engine.failed", /: \[1\]\.$/],
  ["odd details", 422, { detail: [null, { msg: 5 }] }, "engine.rejected", /: is not valid\.$/],
  ["a redirect", 302, "", "engine.bad-answer", /HTTP 302\.$/],
  ["endless", 500, "x".repeat(100_000), "engine.failed", /^.{100,2100}$/],
];

const remedies: Record<string, string> = { "engine.out-of-memory": "free-memory", "engine.cuda-error": "restart" };

for (const [name, status, body, code, message, details] of cases) {
  test(`a refusal is understood: ${name}`, () => {
    const failure = readRefusal(status, typeof body === "string" ? body : JSON.stringify(body));
    assert.equal(failure.code, code);
    assert.match(failure.message, message);
    assert.equal(failure.retryable, failure.remedy !== undefined);
    assert.equal(failure.remedy, remedies[failure.code]);
    assert.deepEqual({ ...failure.details, ...details, status }, failure.details);
  });
}

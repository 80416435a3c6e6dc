import type { EngineFailureCode, Remedy } from "./engine.ts";

/** What an engine's words about a fault mean: its code, whether another try can help, and what must happen before it. */
export interface Fault {
  readonly code: EngineFailureCode;
  readonly retryable: boolean;
  readonly remedy?: Remedy;
}

const outOfMemory: Fault = { code: "engine.out-of-memory", retryable: true, remedy: "free-memory" };
const sticky: Fault = { code: "engine.cuda-error", retryable: true, remedy: "restart" };
/** The same call would fail in the same way on a fresh process. */
const lasting: Fault = { code: "engine.failed", retryable: false };

/**
 * The one table of texts, asked from the top. An engine's error is a sentence at best (A1111 sends the exception's class and text, Forge
 * nothing), so there is no better way; whatever is not in here is a plain failure of the engine and not tried again.
 *
 * Sticky: after such an error each further CUDA call of the process fails, whatever it is asked for (CUDA Runtime API, "Error handling":
 * "this leaves the process in an inconsistent state and any further CUDA work will return the same error; the process must be
 * terminated and relaunched").
 */
const table: readonly (readonly [sign: RegExp, fault: Fault])[] = [
  // torch.OutOfMemoryError (torch < 2.5: torch.cuda.OutOfMemoryError); c10/cuda/CUDACachingAllocator.cpp: "CUDA out of memory. Tried to allocate"
  // c10/core/CPUAllocator: "DefaultCPUAllocator: can't allocate memory"; ROCm: "HIP out of memory"; cudaErrorMemoryAllocation: "out of memory"
  [/out of memory|OutOfMemory|can't allocate memory|Unable to allocate .{1,40} for an array|\bMemoryError\b/i, outOfMemory],
  // cuBLAS and cuDNN take their workspace beside torch's allocator (aten/src/ATen/cuda/Exceptions.h)
  [/CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|CUDA_ERROR_OUT_OF_MEMORY/, outOfMemory],
  // oneDNN on a CPU whose memory ran out
  [/could not create a primitive/, outOfMemory],
  // cudaErrorNoKernelImageForDevice: this torch was not built for this GPU; cudaErrorInvalidValue and …Configuration leave the context whole
  [/no kernel image is available for execution|CUDA error: invalid (argument|configuration argument|device ordinal)|insufficient for CUDA runtime/i, lasting],
  // cudaErrorAssert, …IllegalAddress, …LaunchFailure, …LaunchTimeout, …MisalignedAddress, …IllegalInstruction, …InvalidPc, …HardwareStackError
  [/device-side assert|illegal memory access|unspecified launch failure|launch timed out and was terminated|misaligned address|illegal instruction/i, sticky],
  [/invalid program counter|hardware stack error|operation not supported on global\/shared address space/i, sticky],
  // cudaErrorECCUncorrectable, …ContainedECC (driver 5xx: "Invalid access of peer GPU memory over nvlink or a hardware error"), …NvlinkUncorrectable
  [/uncorrectable (ECC|NVLink) error|ECC error|over nvlink or a hardware error/i, sticky],
  // The driver's own words in a log line: "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
  [/NVRM: Xid|\bXid \(PCI|fallen off the bus|cudaErrorDevicesUnavailable|device\(s\) is\/are busy or unavailable/i, sticky],
  // Any other "CUDA error: …" (c10/cuda/CUDAException.cpp) and torch.AcceleratorError (torch >= 2.8); HIP for AMD
  [/CUDA error: |HIP error: |\bAcceleratorError\b|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_EXECUTION_FAILED|CUDA_ERROR_(LAUNCH|ILLEGAL|ASSERT)/, sticky],
];

/**
 * The exceptions that carry such texts. Others repeat what the caller sent (`ValueError: could not find upscaler named CUDA error:`),
 * and no caller shall be able to restart an engine with words.
 */
const trusted = /Runtime|Accelerator|Memory|Cuda|CUDA|System|^Exception$|^$/;

/** The fault behind an exception's class (empty when it is not known) and text; undefined when the table does not know it. */
export function readFault(kind: string, text: string): Fault | undefined {
  if (!trusted.test(kind)) return undefined;
  const said = `${kind} ${text}`;
  return table.find(([sign]) => sign.test(said))?.[1];
}

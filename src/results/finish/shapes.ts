import type { JobOptions } from "../../jobs/prepare/prepare.ts";
import { plainShapes, type Shape } from "./answer-shape.ts";
import { workerComfyui } from "./worker-comfyui.ts";

/** By the shape that a caller knows. */
export const shapes: Readonly<Record<JobOptions["shape"], Shape>> = { ...plainShapes, "worker-comfyui": workerComfyui };

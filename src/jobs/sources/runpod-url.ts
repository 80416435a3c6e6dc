/** Who we are to the platform; each value may be empty. */
export interface RunpodIdentity {
  readonly podId: string;
  readonly gpuTypeId: string;
}

/**
 * Fills the platform's URL templates. `$ID` means the worker in job-take and the job in job-done; the pod's tokens
 * may stand in any of them (RunPod's own scheduler branch), and one left unreplaced is answered with 400 or 500.
 */
export function fillTemplate(template: string, { podId, gpuTypeId }: RunpodIdentity, id: string): string {
  return template.replaceAll("$RUNPOD_POD_ID", encode(podId)).replaceAll("$RUNPOD_GPU_TYPE_ID", encode(gpuTypeId)).replaceAll("$ID", encode(id));
}

/** The URLs of job-take-batch and job-stop are derived from that of job-take by its text; undefined when it has another form. */
export function siblingOf(takeUrl: string, endpoint: "job-take-batch" | "job-stop"): string | undefined {
  return takeUrl.includes("/job-take/") ? takeUrl.replaceAll("/job-take/", `/${endpoint}/`) : undefined;
}

/** An id may hold half a character (JSON allows it), at which the plain function throws. */
export function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

/** Appends query items, in the order given, to a URL with or without a query. */
export function withQuery(url: string, items: Readonly<Record<string, string>>): string {
  const text = Object.entries(items)
    .map(([name, value]) => `${name}=${encode(value)}`)
    .join("&");
  return `${url}${url.includes("?") ? "&" : "?"}${text}`;
}

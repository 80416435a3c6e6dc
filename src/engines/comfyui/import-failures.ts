/**
 * What ComfyUI logs of custom nodes that it starts without, as regular expressions (0.3.x to 0.33, where a line may begin with
 * `[WARNING] `). The first has the exception; the table that comes later names the same folders without it.
 */
export const importFailures: readonly string[] = [
  String.raw`Cannot import (?<what>\S.*?) module for custom nodes: (?<why>.*)$`,
  String.raw`^(?:\[\w+\]\s*)?\s*[\d.]+ seconds \(IMPORT FAILED\): (?<what>.+)$`,
  String.raw`Failed to execute startup-script: (?<what>\S.*?) / (?<why>.*)$`,
];

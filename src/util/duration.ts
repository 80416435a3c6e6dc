const unitsMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const pattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** `200ms`, `2s`, `1.5m`, `1h`, `7d` → milliseconds; undefined when the text is no duration (a bare number has no unit). */
export function parseDuration(text: string): number | undefined {
  const match = pattern.exec(text.trim());
  if (!match) return undefined;
  return Number(match[1]) * unitsMs[match[2] as keyof typeof unitsMs];
}

/** Milliseconds for a person: `350ms`, `2.345s`, `1m05s`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(3)}s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, "0")}s`;
}

/** Milliseconds as `parseDuration` reads them, without loss: `200ms`, `90s`, `10m`. */
export function exactDuration(ms: number): string {
  const unit = (["d", "h", "m", "s"] as const).find((one) => ms !== 0 && ms % unitsMs[one] === 0) ?? "ms";
  return `${ms / unitsMs[unit]}${unit}`;
}

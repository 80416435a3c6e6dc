import leven from "leven";

/** The candidate a typo most likely meant, or undefined when none is near (a third of the letters may differ). */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  let best: { candidate: string; distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = leven(word.toLowerCase(), candidate.toLowerCase());
    if (!best || distance < best.distance) best = { candidate, distance };
  }
  return best && best.distance <= Math.max(best.candidate.length > 3 ? 2 : 1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined;
}

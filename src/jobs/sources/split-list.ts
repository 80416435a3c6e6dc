import { endOfString } from "../json-scan.ts";

/** The members of a JSON list as texts of their own, without parsing one: a broken or hostile member must not cost the others. */
export function splitList(text: string): string[] {
  const members: string[] = [];
  let depth = 0;
  let from = 0;
  const cut = (to: number) => {
    const member = text.slice(from, to);
    if (member.trim() !== "") members.push(member);
    from = to + 1;
  };
  for (let at = text.indexOf("["); at >= 0 && at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 34) at = endOfString(text, at);
    else if (code === 91 || code === 123) {
      depth += 1;
      if (depth === 1) from = at + 1;
    } else if (code === 93 || code === 125) {
      depth -= 1;
      if (depth > 0) continue;
      cut(at);
      return members;
    } else if (code === 44 && depth === 1) cut(at);
  }
  // The list does not end; what is left of its last member may still tell its id.
  cut(text.length);
  return members;
}

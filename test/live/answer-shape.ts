/** The shape of JSON values, for comparing two programs' answers: kinds and keys, not contents. */
export type Shape = string | { readonly [key: string]: Shape } | readonly [Shape];

export function shapeOf(value: unknown): Shape {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "list" : [shapeOf(value[0])];
  if (typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shapeOf(one)]));
}

/** What `other` lacks of `model`, or has in another kind; keys that only `other` has are no difference. Null and empty match anything. */
export function lacks(model: Shape, other: Shape | undefined, path = ""): string[] {
  if (other === undefined) return [`${path} is missing`];
  if (model === "null" || other === "null") return [];
  const wrongKind = kindOf(model) === kindOf(other) ? [] : [`${path} is ${kindOf(other)} instead of ${kindOf(model)}`];
  if (wrongKind.length > 0 || model === "list" || other === "list") return wrongKind;
  if (Array.isArray(model) && Array.isArray(other)) return lacks(model[0] as Shape, other[0] as Shape, `${path}[]`);
  if (typeof model === "string" || typeof other === "string") return [];
  const there = other as { readonly [key: string]: Shape };
  return Object.entries(model).flatMap(([key, one]) => lacks(one, there[key], path ? `${path}.${key}` : key));
}

function kindOf(shape: Shape): string {
  return typeof shape === "string" ? shape : Array.isArray(shape) ? "list" : "object";
}

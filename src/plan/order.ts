import { FettleError } from "../errors/fettle-error.ts";
import { suggest } from "../util/suggest.ts";
import type { Dependency, Service } from "./plan.ts";

type Node = Pick<Service, "name" | "dependsOn">;

/** Where it is written that one waits for another: by name, or because of its phase. */
const writtenAt = (name: string, { service, startOnly }: Dependency): string =>
  startOnly ? `services.${name}.phase` : `services.${name}.dependsOn.${service}`;

/** Start waves: whoever waits for nobody, then those who wait for these, and so on. Throws on a cycle, naming its path. */
export function startOrder(services: readonly Node[], placeOf: typeof writtenAt = writtenAt): string[][] {
  const waves: string[][] = [];
  const placed = new Set<string>();
  let rest = services;
  while (rest.length > 0) {
    const wave = rest.filter(({ dependsOn }) => dependsOn.every(({ service }) => placed.has(service)));
    if (wave.length === 0) throw cycleError(rest, placeOf);
    for (const { name } of wave) placed.add(name);
    waves.push(wave.map(({ name }) => name));
    rest = rest.filter(({ name }) => !placed.has(name));
  }
  return waves;
}

/** Everyone left waits for somebody left, so following the first such dependency must come back to a known name. */
function cycleError(rest: readonly Node[], placeOf: typeof writtenAt): FettleError {
  const left = new Map(rest.map((node) => [node.name, node]));
  const path: string[] = [];
  let node = rest[0];
  while (node && !path.includes(node.name)) {
    path.push(node.name);
    const next = node.dependsOn.find(({ service }) => left.has(service));
    node = next && left.get(next.service);
  }
  const cycle = [...path.slice(path.indexOf(node?.name ?? "")), node?.name ?? ""];
  const links = cycle.slice(1).flatMap((service, index) => {
    const name = cycle[index] ?? "";
    const dependency = left.get(name)?.dependsOn.find((one) => one.service === service);
    return dependency ? [{ name, dependency }] : [];
  });
  // What a person wrote by name is more likely the mistake than what the order of phases implies.
  const link = links.find(({ dependency }) => !dependency.startOnly) ?? links[0];
  return new FettleError("plan.cycle", `Cannot order the services: ${cycle.join(" → ")} wait for each other.`, {
    details: { cycle },
    ...(link && { where: { path: placeOf(link.name, link.dependency) } }),
  });
}

/** Throws when a service waits for one that is not in the plan; `leftOut` says why a declared one is not. */
export function checkDependencies(services: readonly Node[], leftOut: ReadonlyMap<string, string>): void {
  const names = services.map(({ name }) => name);
  for (const { name, dependsOn } of services) {
    const missing = dependsOn.find(({ service }) => !names.includes(service));
    if (!missing) continue;
    const why = leftOut.get(missing.service);
    const near = suggest(missing.service, names);
    throw new FettleError(
      "plan.missing-dependency",
      `Cannot start "${name}": it waits for "${missing.service}", ${why === undefined ? "which does not exist" : `which is left out because ${why}`}.`,
      {
        where: { path: `services.${name}.dependsOn.${missing.service}` },
        ...(why !== undefined && { hint: `Remove the dependency, or let "${missing.service}" in.` }),
        ...(why === undefined && near !== undefined && { hint: `Did you mean "${near}"?` }),
      },
    );
  }
}

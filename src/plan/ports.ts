import { FettleError } from "../errors/fettle-error.ts";

export interface Listener {
  /** In words: `the engine "webui"`. */
  readonly what: string;
  readonly port: number;
  /** Its place in the config. */
  readonly path: string;
}

/** Throws when two listeners want one port. Different addresses do not help: a wildcard address takes the port on all. */
export function checkPorts(listeners: readonly Listener[]): void {
  const taken = new Map<number, Listener>();
  for (const listener of listeners) {
    const other = listener.port === 0 ? undefined : taken.get(listener.port);
    if (other) {
      throw new FettleError("plan.port-taken-twice", `Cannot plan: ${other.what} and ${listener.what} both want port ${listener.port}.`, {
        where: { path: listener.path },
      });
    }
    taken.set(listener.port, listener);
  }
}

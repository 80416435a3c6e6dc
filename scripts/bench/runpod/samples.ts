/** What was measured: numbers by figure and column, and sentences about what went otherwise than it should. */
import type { FigureKey } from "./figures.ts";

/** The three workers, or one worker without and with something. */
export type Column = "fettle" | "handler" | "sdk" | "without" | "with";

export class Samples {
  readonly #values = new Map<string, number[]>();
  readonly notes = new Set<string>();
  /** Rows that did not come to their end. */
  readonly failures: string[] = [];
  /** Who holds the memory: first round, idle. */
  readonly processes: { column: Column; command: string; pssMib: number }[] = [];

  add(figure: FigureKey, column: Column, ...values: readonly number[]): void {
    const key = `${figure} ${column}`;
    this.#values.set(key, [...(this.#values.get(key) ?? []), ...values]);
  }

  of(figure: FigureKey, column: Column): readonly number[] {
    return this.#values.get(`${figure} ${column}`) ?? [];
  }
}

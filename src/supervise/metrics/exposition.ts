/** One sample: its labels and its value. */
export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** Text in Prometheus' exposition format 0.0.4, family by family; a family without samples is left out. */
export class Exposition {
  readonly #lines: string[] = [];

  family(name: string, type: "gauge" | "counter", help: string, samples: readonly Sample[]): void {
    if (samples.length === 0) return;
    this.#head(name, type, help);
    for (const [labels, value] of samples) this.#line(name, labels, value);
  }

  /** Sum and count without quantiles: their quotient is the mean. */
  summary(name: string, help: string, sums: Iterable<readonly [Readonly<Record<string, string>>, { readonly sum: number; readonly count: number }]>): void {
    let begun = false;
    for (const [labels, { sum, count }] of sums) {
      if (!begun) this.#head(name, "summary", help);
      begun = true;
      this.#line(`${name}_sum`, labels, sum);
      this.#line(`${name}_count`, labels, count);
    }
  }

  histogram(name: string, help: string, histograms: Iterable<readonly [Readonly<Record<string, string>>, Histogram]>): void {
    let begun = false;
    for (const [labels, { bounds, counts, sum, count }] of histograms) {
      if (!begun) this.#head(name, "histogram", help);
      begun = true;
      bounds.forEach((bound, index) => this.#line(`${name}_bucket`, { ...labels, le: String(bound) }, counts[index] ?? 0));
      this.#line(`${name}_bucket`, { ...labels, le: "+Inf" }, count);
      this.#line(`${name}_sum`, labels, sum);
      this.#line(`${name}_count`, labels, count);
    }
  }

  toString(): string {
    return this.#lines.length === 0 ? "" : `${this.#lines.join("\n")}\n`;
  }

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`, `# TYPE ${name} ${type}`);
  }

  #line(name: string, labels: Readonly<Record<string, string>>, value: number): void {
    this.#lines.push(`${name}${formatLabels(labels)} ${value}`);
  }
}

/** Counts of what lay at or below each bound, as Prometheus wants them. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.sum += value;
    this.count += 1;
    this.bounds.forEach((bound, index) => {
      if (value <= bound) this.counts[index] = (this.counts[index] ?? 0) + 1;
    });
  }
}

/** One value for each set of labels, made when it is first needed. */
export class ByLabels<Value> {
  readonly #entries = new Map<string, readonly [Readonly<Record<string, string>>, Value]>();
  readonly #create: () => Value;

  constructor(create: () => Value) {
    this.#create = create;
  }

  of(labels: Readonly<Record<string, string>>): Value {
    const key = JSON.stringify(labels);
    let entry = this.#entries.get(key);
    if (!entry) this.#entries.set(key, (entry = [labels, this.#create()]));
    return entry[1];
  }

  [Symbol.iterator](): IterableIterator<readonly [Readonly<Record<string, string>>, Value]> {
    return this.#entries.values();
  }
}

/** Counters by labels. */
export class Counters {
  readonly #counts = new ByLabels(() => ({ value: 0 }));

  add(labels: Readonly<Record<string, string>>, by = 1): void {
    this.#counts.of(labels).value += by;
  }

  get samples(): readonly Sample[] {
    return [...this.#counts].map(([labels, { value }]) => [labels, value]);
  }
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

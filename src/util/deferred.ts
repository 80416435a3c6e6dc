// util/ owns small ideas that know nothing of engines, jobs or services: one idea a file, named by it.

/** A promise with its resolvers outside, for "somebody else will say when". */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

export function createDeferred<T = void>(): Deferred<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  return { promise, resolve, reject };
}

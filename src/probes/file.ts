import { access } from "node:fs/promises";
import { reasonOf } from "../errors/fettle-error.ts";
import { type Check, passed, refused } from "./check.ts";

/** A path that exists counts, whatever it is. */
export function fileCheck(path: string): Check {
  return () =>
    access(path).then(
      () => passed,
      (error: unknown) => refused(`${path}: ${reasonOf(error)}`),
    );
}

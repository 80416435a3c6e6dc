import { existsSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { WantedModel } from "../models/fetch-model.ts";
import { sourceId } from "../models/model-source.ts";

export interface InputPlaces {
  readonly file: string;
  readonly cwd: string;
  readonly modelsDir: string;
}

/** A relative path that is not beside the templates may be among the models. */
export function placeInput(wanted: WantedModel, places: InputPlaces): WantedModel {
  const { source } = wanted;
  if (source.kind !== "file" || existsSync(source.path)) return wanted;
  const inside = relative(folderOf(places), source.path);
  const other = join(places.modelsDir, inside);
  return inside.startsWith("..") || !existsSync(other) ? wanted : { ...wanted, source: { ...source, path: other } };
}

/** As somebody may see it who asks for a picture: no folders of this machine beside the templates' own. */
export function showInput({ source }: WantedModel, places: InputPlaces): string {
  if (source.kind !== "file") return sourceId(source);
  const inside = relative(folderOf(places), source.path);
  return inside.startsWith("..") ? basename(source.path) : inside;
}

const folderOf = ({ file, cwd }: InputPlaces): string => dirname(resolve(cwd, file));

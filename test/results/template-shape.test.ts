import assert from "node:assert/strict";
import { test } from "node:test";
import { sdapiAnswer, smallPng } from "../fixtures/sdapi-answer.ts";
import { finish } from "./finish-rig.ts";

const template = { name: "anime", checkpoint: "a.safetensors", loras: [], merged: true, recipe: "f".repeat(64) };
const answer = (images: readonly Buffer[], more: object = {}) =>
  JSON.stringify({ ...(JSON.parse(sdapiAnswer(images, { info: JSON.stringify({ seed: 7 }) })) as object), template, ...more });

test("a template's answer names it, and holds the first image once more", async () => {
  const done = await finish({ answer: answer([smallPng, smallPng], { warnings: ["from the engine", "twice", "twice"] }), options: { shape: "template" } });
  const value = JSON.parse(done.text) as Record<string, unknown>;
  assert.deepEqual(Object.keys(value), ["images", "image", "template", "parameters", "info", "warnings"]);
  assert.deepEqual(value["images"], [smallPng.toString("base64"), smallPng.toString("base64")]);
  assert.equal(value["image"], smallPng.toString("base64"));
  assert.deepEqual(value["template"], template);
  assert.deepEqual(value["warnings"], ["from the engine", "twice"]);
});

test("its size counts the first image twice", async () => {
  const { text } = await finish({ answer: answer([smallPng]), options: { shape: "template" } });
  const fits = await finish({ answer: answer([smallPng]), options: { shape: "template" }, maxBytes: Buffer.byteLength(text) + 64 });
  assert.equal(fits.type, "output");
  const tight = await finish({ answer: answer([smallPng]), options: { shape: "template" }, maxBytes: Buffer.byteLength(text) + 63 });
  assert.ok(tight.type === "failed" && tight.failure.code === "result.too-large");
});

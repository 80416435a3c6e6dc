// not on deno: the validator brings packages that Deno does not find in node_modules.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { buildOpenapi } from "../../src/server/build-openapi.ts";
import { docsPage } from "../../src/server/docs-page.ts";
import { routes } from "../../src/server/routes.ts";
import { createScriptedEngine } from "../jobs/scripted-engine.ts";
import { httpConfig, limit, startRig } from "../jobs/worker-rig.ts";

const committed = readFileSync(new URL("../../src/server/openapi.txt", import.meta.url), "utf8");

test("The description is what the table says, and valid OpenAPI 3.1", async () => {
  assert.equal(committed, `${JSON.stringify(buildOpenapi(), null, 2)}\n`);
  const validator = new Validator();
  const verdict = await validator.validate(JSON.parse(committed) as Record<string, unknown>);
  assert.deepEqual([verdict.valid, verdict.valid ? undefined : verdict.errors, validator.version], [true, undefined, "3.1"]);
});

test("Every route of the table is served, described and on the page, which needs nothing from elsewhere", { timeout: 60_000 }, async () => {
  await using rig = await startRig(createScriptedEngine(), { sources: { http: httpConfig() } });
  const url = await rig.untilListening();
  assert.equal(await (await fetch(`${url}/openapi.json`, limit())).text(), committed);
  const response = await fetch(`${url}/`, limit());
  const page = await response.text();
  assert.match(response.headers.get("content-type") ?? "", /^text\/html/);
  assert.equal(page, docsPage());
  assert.deepEqual(
    [...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, link]) => link),
    ["openapi.json"],
  );
  for (const { method, path } of routes) {
    assert.ok(page.includes(`<code>${path}</code>`), path);
    const asked = await fetch(url + path.replace("{id}", "none"), { method: method.toUpperCase(), ...(method === "post" && { body: "{}" }), ...limit() });
    assert.notEqual(asked.status, 405, path);
    await asked.body?.cancel();
  }
});

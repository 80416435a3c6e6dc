import assert from "node:assert/strict";
import { test } from "node:test";
import { showValue, showYaml } from "../../src/config/show.ts";
import { drawn, loadText, refusal } from "./harness.ts";

const env = { HF_TOKEN: "hf_0123456789", PLAIN: "visible", HOOK: "https://ann:pa55word@example.org/hook" };
const yaml = [
  "sources: { http: { apiKey: sk-literal-key } }",
  "description: token ${HF_TOKEN} and ${PLAIN}",
  "services:",
  "  s:",
  "    command: [run, --api-key, word-secret, --token=inline-secret, 'https://bob:hunter22@host/x?token=querysecret&a=1&key=keysecret&X-Amz-Signature=signsecret&sort-key=name']",
  "    env: { MY_SECRET: env-secret, HOOK: '${HOOK}', NAME: visible }",
].join("\n");
const secrets = [
  "hf_0123456789",
  "sk-literal-key",
  "word-secret",
  "inline-secret",
  "hunter22",
  "querysecret",
  "env-secret",
  "pa55word",
  "keysecret",
  "signsecret",
];

test("secrets are collected from names, variables, arguments and URLs", () => {
  const loaded = loadText(yaml, { env });
  for (const secret of secrets) assert.ok(loaded.secrets.includes(secret), secret);
  for (const word of ["visible", "name"]) assert.ok(!loaded.secrets.includes(word), word);
});

test("config show prints none of them, in YAML and as a value", () => {
  const loaded = loadText(yaml, { env });
  for (const text of [showYaml(loaded), showYaml(loaded, { everyOrigin: true }), JSON.stringify(showValue(loaded))]) {
    for (const secret of secrets) assert.ok(!text.includes(secret), secret);
    assert.match(text, /visible/);
    assert.match(text, /bob:\*\*\*@host/);
  }
  assert.equal(loaded.config.sources.http?.apiKey, "sk-literal-key");
});

test("an error's drawn line hides them and keeps the mark in its place", () => {
  assert.equal(
    drawn(() => loadText("extends: demo\nsources: { http: { apiKey: sk-literal-key, prot: 1 } }\n")),
    `✖ Cannot use config: unknown key "prot".                      config.unknown-key
    fettle.yaml:2:44 (sources.http.prot)
      sources: { http: { apiKey: **************, prot: 1 } }
                                                 ~~~~
  Did you mean "port"?`,
  );
});

const hidden: [name: string, yaml: string][] = [
  ["a misspelt key of a secret", "sources: { http: { apyKey: sk-literal-key } }\n"],
  ["a secret of the wrong type", "sources: { http: { apiKey: [sk-literal-key] } }\n"],
  ["a line that does not parse", "sources: { http: { apiKey: sk-literal-key }\n"],
  ["a secret beside a syntax error", "apiKey: 'sk-literal-key' x\n"],
  ["a line with a control character", "apiKey: sk-literal-key\u0007\n"],
];

for (const [name, text] of hidden) {
  test(`hidden in errors: ${name}`, () => {
    const error = refusal(() => loadText(text));
    assert.doesNotMatch(JSON.stringify([error.message, error.hint, error.where, error.others]), /sk-literal-key/);
  });
}

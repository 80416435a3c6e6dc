import assert from "node:assert/strict";
import { test } from "node:test";
import { FettleError } from "../../src/errors/fettle-error.ts";
import { explainPlan } from "../../src/plan/explain.ts";
import type { Plan } from "../../src/plan/plan.ts";
import { planOf, planOfProfile } from "./plan-of.ts";

const command = ["/bin/true"];
const waits = ({ services }: Plan, name: string): string[] =>
  (services.find((one) => one.name === name)?.dependsOn ?? []).map(
    ({ service, condition, startOnly }) => `${service} ${condition}${startOnly ? " at first" : ""}`,
  );

test("members wait for the phase before theirs: for what must not fail to be ready, for the rest to be settled", () => {
  const { plan } = planOf({
    phases: { one: {}, empty: {}, two: {} },
    services: {
      a: { phase: "one", command },
      b: { phase: "one", command, onFailure: "warn" },
      c: { phase: "one", command, task: true, background: true },
      d: { phase: "two", command, dependsOn: { a: "started" } },
      free: { command },
    },
  });
  assert.deepEqual(waits(plan, "d"), ["a started", "a ready at first", "b settled at first", "c started at first"]);
  assert.deepEqual(waits(plan, "free"), []);
  assert.deepEqual(
    plan.phases.map(({ name, number, after }) => [name, number, after]),
    [
      ["one", 1, []],
      ["empty", 2, ["one"]],
      ["two", 3, ["empty"]],
    ],
  );
  assert.match(explainPlan(plan), /3 two +\d +d +service +a started, phase 1 /);
});

test("hooks stand around everything when their scripts exist", () => {
  const config = {
    phases: { one: {} },
    services: { a: { phase: "one", command }, free: { command } },
    hooks: { preStart: { path: "/pre.sh" }, postStart: { path: "/post.sh", onFailure: "exit", timeout: "1s" } },
  };
  assert.deepEqual(
    planOf(config).plan.services.map(({ name }) => name),
    ["a", "free"],
  );
  const { plan } = planOf(config, { existing: new Set(["/pre.sh", "/post.sh"]) });
  assert.deepEqual([waits(plan, "a"), waits(plan, "free")], [["pre-start settled at first"], ["pre-start settled at first"]]);
  assert.deepEqual(waits(plan, "post-start"), ["a ready at first", "free ready at first"]);
  const post = plan.services.find(({ name }) => name === "post-start");
  assert.deepEqual([post?.argv, post?.timeLimitMs, post?.essential], [["bash", "/post.sh"], 1000, true]);
});

test("phases that wait for each other, and a member that waits for a later phase, are refused by name", () => {
  const codeOf = (config: unknown): string => {
    try {
      planOf(config);
    } catch (error) {
      if (error instanceof FettleError) return `${error.code} ${error.message}`;
    }
    return "";
  };
  assert.match(codeOf({ phases: { one: { after: ["two"] }, two: {} } }), /^plan\.cycle .*one → two → one/);
  const services = { a: { phase: "one", command, dependsOn: { b: "ready" } }, b: { phase: "two", command } };
  assert.match(codeOf({ phases: { one: {}, two: {} }, services }), /^plan\.cycle .*a → b → a/);
});

test("comfyui-pod: the seed's services by its variables, no password on a command line", () => {
  const names = (env: Record<string, string>) => planOfProfile("comfyui-pod", { env }).plan.services.map(({ name }) => name);
  assert.deepEqual(names({}), ["comfyui", "setup", "nginx", "preset-manager", "code-server", "jupyterlab", "verification"]);
  assert.deepEqual(names({ ENABLE_PRESET_MANAGER: "false", ENABLE_CODE_SERVER: "0", ENABLE_JUPYTERLAB: "no" }), ["comfyui", "setup", "nginx", "verification"]);
  assert.ok(names({ PUBLIC_KEY: "ssh-ed25519 AAAA" }).includes("ssh"));
  for (const name of ["PRESET_DOWNLOAD", "IMAGE_PRESET_DOWNLOAD", "AUDIO_PRESET_DOWNLOAD"])
    assert.ok(names({ [name]: "X" }).includes("preset-downloads"), name);
  const { plan } = planOfProfile("comfyui-pod", { env: { ACCESS_PASSWORD: "word-of-access" } });
  assert.doesNotMatch(JSON.stringify(plan.services.map(({ argv, steps }) => [argv, steps])), /word-of-access/);
  assert.deepEqual(
    plan.services.filter(({ env }) => Object.values(env).includes("word-of-access")).map(({ name }) => name),
    ["preset-manager", "code-server", "jupyterlab"],
  );
  assert.equal(plan.stopBudgetMs, 10_000);
  assert.deepEqual(
    plan.phases.map(({ targetMs }) => targetMs),
    [8000, 15_000, 5000, 2000],
  );
  assert.equal(plan.services.find(({ name }) => name === "comfyui")?.readiness?.startupMs, 30_000);
});

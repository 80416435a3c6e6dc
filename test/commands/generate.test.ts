import assert from "node:assert/strict";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createPlace, type Place } from "./program.ts";

const limit = () => ({ signal: AbortSignal.timeout(30_000) });
const isPng = (path: string) => readFileSync(path).subarray(1, 4).toString() === "PNG";
const generate = (place: Place, ...args: string[]) => place.run(["generate", "--config", place.configure(), ...args]);

test("generate boots the engine, writes the image, prints its path and leaves nothing behind", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const fettle = generate(place, "--prompt", "1e3", "--seed", "7", "--out", "made/here.png", "--log-level", "info");
  const [, engine] = await fettle.untilSaid(/webui \| listening (\d+)/);
  assert.equal(await fettle.ended, 0);
  const path = join(place.dir, "made/here.png");
  assert.equal(fettle.out(), `${path}\n`);
  assert.ok(isPng(path));
  assert.deepEqual(place.leftovers(), []);
  await assert.rejects(fetch(`http://127.0.0.1:${engine}/stats`), "the engine is gone");
});

test("--json prints the images with size and seed, and the engine's own words; the flags win over --input", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const config = place.configure();
  const fettle = place.run(["generate", "--config", config, "--input", "-", "--steps", "9", "--json"], {
    input: '{"input":{"prompt":"from stdin","steps":3,"own":true}}',
  });
  assert.equal(await fettle.ended, 0);
  const said = JSON.parse(fettle.out()) as { images: { path: string; width: number; seed: number }[]; parameters: object; info: string; timings: object };
  assert.deepEqual(said.parameters, { prompt: "from stdin", steps: 9, own: true });
  const [image] = said.images;
  assert.equal(image?.path, join(place.dir, "fettle-1-0.png"));
  assert.equal(image?.seed, 1);
  assert.ok((image?.width ?? 0) > 0 && isPng(image?.path ?? ""));
  assert.equal((JSON.parse(said.info) as { sd_model_name: string }).sd_model_name, "noop");
  assert.deepEqual(Object.keys(said.timings), ["bootMs", "engineMs", "totalMs"]);
});

test("in a folder no image is overwritten", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  for (let count = 0; count < 2; count++) assert.equal(await generate(place, "--prompt", "x", "--out", "images/").ended, 0);
  assert.deepEqual(readdirSync(join(place.dir, "images")).sort(), ["fettle-1-0-2.png", "fettle-1-0.png"]);
});

test("--url asks a running instance; its failures keep their code", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const start = place.run(["start", "--config", place.configure("sources: { http: { port: 0, apiKey: the-key-of-the-api } }")]);
  const [, url = ""] = await start.untilSaid(/Jobs are taken at (\S+)/);
  const key = { env: { FETTLE_API_KEY: "the-key-of-the-api" } };
  const good = place.run(["generate", "--url", url, "--prompt", "x", "--out", "there.png"], key);
  assert.equal(await good.ended, 0, good.said());
  assert.ok(isPng(join(place.dir, "there.png")));
  const job = join(place.dir, "job.json");
  writeFileSync(job, JSON.stringify({ prompt: "y", noop: { status: 500 } }));
  const bad = place.run(["generate", "--url", url, "--input", job, "--json"], key);
  assert.equal(await bad.ended, 1);
  assert.equal((JSON.parse(bad.out()) as { error: { code: string } }).error.code, "engine.failed");
  const stranger = place.run(["generate", "--profile", "demo", "--url", url, "--prompt", "x"]);
  assert.equal(await stranger.ended, 1, "without the key");
  assert.equal(await start.stop(), 0);
});

test("the engine's refusal is the error, and no file is written", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const job = join(place.dir, "job.json");
  writeFileSync(job, JSON.stringify({ prompt: "x", noop: { status: 500 } }));
  const fettle = generate(place, "--input", job, "--out", "none/");
  assert.equal(await fettle.ended, 1);
  assert.match(fettle.said(), /noop failed as it was told[\s\S]*engine\.failed|engine\.failed[\s\S]*noop failed as it was told/);
  assert.equal(existsSync(join(place.dir, "none")), false);
});

test("an engine that ends while it boots is the error, with its last line; a missing program is exit 3", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const config = place.configure();
  const python = join(place.dir, "python");
  writeFileSync(python, "#!/bin/sh\necho the weights are missing >&2\nexit 5\n");
  chmodSync(python, 0o755);
  const fettle = place.run(["generate", "--config", config, "--prompt", "x"]);
  assert.equal(await fettle.ended, 1);
  assert.match(fettle.said(), /Cannot start webui: ended with code 5\..*supervise\.not-ready\n {2}Its last line: the weights are missing/);
  const missing = place.run(["generate", "--config", config, "--prompt", "x", "--set", "engines.webui.python=/no/such/python"]);
  assert.equal(await missing.ended, 3);
  assert.match(missing.said(), /supervise\.spawn-failed/);
  assert.deepEqual(place.leftovers(), []);
});

test("SIGINT in mid-job stops everything with 130", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const job = join(place.dir, "job.json");
  writeFileSync(job, JSON.stringify({ prompt: "x", noop: { hold: true } }));
  const fettle = generate(place, "--input", job, "--log-level", "info", "--out", "none.png");
  const [, engine] = await fettle.untilSaid(/webui \| listening (\d+)/);
  await fetch(`http://127.0.0.1:${engine}/wait?running=1`, limit());
  assert.equal(await fettle.stop("SIGINT"), 130);
  assert.equal(existsSync(join(place.dir, "none.png")), false);
  assert.deepEqual(place.leftovers(), []);
  await assert.rejects(fetch(`http://127.0.0.1:${engine}/stats`), "the engine is gone");
});

test("--timeout bounds the whole", { timeout: 60_000 }, async () => {
  await using place = createPlace();
  const config = place.configure("", ["--not-ready"]);
  const fettle = place.run(["generate", "--config", config, "--prompt", "x", "--timeout", "300ms"]);
  assert.equal(await fettle.ended, 1);
  assert.match(fettle.said(), /not done after --timeout 300ms\..*engine\.timeout/);
});

for (const [what, args, code] of [
  ["nothing to make", [], "cli.bad-value"],
  ["a bad number", ["--prompt", "x", "--steps", "many"], "cli.bad-value"],
  ["a side that no engine makes", ["--prompt", "x", "--width", "500"], "cli.bad-value"],
  ["an instance's address that is none", ["--prompt", "x", "--url", "localhost"], "cli.bad-value"],
  ["a workflow for an engine that takes none", ["--prompt", "x", "--workflow", "w.json"], "job.invalid"],
  ["a template that nobody declared", ["--template", "portrait"], "job.invalid"],
  ["a job file that is no JSON", ["--input", "fettle.yaml"], "job.invalid"],
  ["a job file that is not there", ["--input", "missing.json"], "cli.bad-value"],
  ["a place that cannot be written", ["--prompt", "x", "--out", "fettle.yaml/x.png"], "result.cannot-store"],
  ["a duration without its unit", ["--prompt", "x", "--timeout", "5"], "cli.bad-value"],
] as const) {
  test(`${what} is refused before anything starts`, { timeout: 60_000 }, async () => {
    await using place = createPlace();
    const fettle = generate(place, ...args, "--json");
    assert.equal(await fettle.ended, code === "result.cannot-store" ? 1 : 2);
    assert.equal((JSON.parse(fettle.out()) as { error: { code: string } }).error.code, code);
    assert.equal(existsSync(join(place.dir, "state")), false);
  });
}

const python = process.env["FETTLE_TEST_PYTHON"] ?? process.env["FETTLE_PYTHON"];

test(
  "the bundled engine makes an image of its own tiny model",
  { timeout: 180_000, skip: python ? false : "set FETTLE_TEST_PYTHON to a Python with the engine's requirements" },
  async () => {
    await using place = createPlace();
    const env = { FETTLE_PYTHON: python, OMP_NUM_THREADS: "1" };
    const args = ["generate", "--profile", "demo", "--prompt", "an astronaut", "--steps", "2", "--width", "64", "--height", "128", "--seed", "11", "--json"];
    const fettle = place.run(args, { env });
    assert.equal(await fettle.ended, 0, fettle.said());
    const { images } = JSON.parse(fettle.out()) as { images: { sizeBytes: number }[] };
    const path = join(place.dir, "fettle-11-0.png");
    const { size } = statSync(path);
    assert.deepEqual(images, [{ path, mime: "image/png", sizeBytes: size, width: 64, height: 128, seed: 11 }]);
    assert.ok(isPng(path));
    assert.deepEqual(place.leftovers(), []);
  },
);

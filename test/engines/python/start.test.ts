import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type Place, createPlace } from "../../commands/program.ts";
import { startRunpodPlatform } from "../../doubles/runpod-platform.ts";
import { limit } from "../../jobs/worker-rig.ts";
import { python } from "./handler-process.ts";

const env = (place: Place) => ({ FETTLE_HANDLER_FILE: join(place.dir, "handler.py"), FETTLE_PYTHON: python, OMP_NUM_THREADS: "1" });
const write = (place: Place, name: string, text: string) => writeFileSync(join(place.dir, name), text);
const start = ["start", "--profile", "python-handler", "--set", "engines.handler.allocator=none"];
const sdkForm = (value: string) =>
  `import runpod\ndef handler(job):\n    print("got", job["input"]["name"])\n    return {"hello": job["input"]["name"] + ${value}}\nrunpod.serverless.start({"handler": handler})\n`;
const plainForm = "def handler(event):\n    raise ValueError('no ' + event['input']['name'])\n";

test("--test-input runs the handler once, prints its result and says by its exit code how it went", { timeout: 120_000 }, async () => {
  await using place = createPlace();
  write(place, "test_input.json", '{"input": {"name": "wörld"}}');
  write(place, "handler.py", sdkForm('"!"'));
  const good = place.run([...start, "--test-input", "test_input.json"], { env: env(place) });
  assert.equal(await good.ended, 0, good.said());
  assert.equal(good.out(), '{"output":{"hello": "wörld!"}}\n');
  assert.match(good.said(), /handler \| \[local-[^\]]+\] got wörld/);
  assert.equal(readFileSync(join(place.dir, "test_output.json"), "utf8"), good.out().trimEnd());

  write(place, "handler.py", plainForm);
  const bad = place.run([...start, "--test-input", "test_input.json"], { env: env(place) });
  assert.equal(await bad.ended, 1, bad.said());
  const { error } = JSON.parse(bad.out()) as { error: string };
  assert.equal((JSON.parse(error) as { error_message: string }).error_message, "no wörld");
  assert.match(bad.said(), /handler \| .*File ".*handler\.py", line 2, in handler/);

  write(place, "handler.py", "import nothing_of_that_name\n");
  const broken = place.run([...start, "--test-input", "test_input.json"], { env: env(place) });
  assert.equal(await broken.ended, 1, broken.said());
  assert.match(broken.said(), /Cannot load the handler: handler\.py:1: ModuleNotFoundError/);
  // It leaves nothing behind but the result.
  assert.deepEqual(existsSync(join(place.dir, "run")) ? readdirSync(join(place.dir, "run")) : [], []);
  assert.ok(!existsSync(join(place.dir, "state")));
});

test("the file source alone does the same", { timeout: 120_000 }, async () => {
  await using place = createPlace();
  write(place, "test_input.json", '{"id": "mine", "input": {"name": "a"}}');
  write(place, "handler.py", sdkForm('"b"'));
  const fettle = place.run([...start, "--set", "sources.file.enabled=true", "--set", "sources.http.port=0", "--set", "health.enabled=false"], {
    env: env(place),
  });
  assert.equal(await fettle.ended, 0, fettle.said());
  assert.equal(fettle.out(), '{"output":{"hello": "ab"}}\n');
});

test("--watch runs the job again after each change of the handler, a module beside it, or the job", { timeout: 120_000 }, async () => {
  await using place = createPlace();
  write(place, "test_input.json", '{"input": {"name": "a"}}');
  write(place, "part.py", "VALUE = '1'\n");
  write(place, "handler.py", `import part\n${sdkForm("part.VALUE")}`);
  const fettle = place.run([...start, "--test-input", "test_input.json", "--watch"], { env: env(place) });
  const results = () => fettle.out().split("\n").slice(0, -1);
  const untilPrinted = async (pattern: RegExp) => {
    const { signal } = limit(60_000);
    while (!pattern.test(results().at(-1) ?? "")) {
      assert.ok(!signal.aborted, `never printed ${pattern}: ${fettle.out()}${fettle.said()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  await untilPrinted(/"a1"/);
  write(place, "part.py", "VALUE = '22'\n");
  await untilPrinted(/"a22"/);
  write(place, "handler.py", "def handler(job):\n    return (\n");
  await untilPrinted(/Cannot load the handler: handler\.py:2: SyntaxError/);
  write(place, "handler.py", sdkForm('"333"'));
  await untilPrinted(/"a333"/);
  write(place, "test_input.json", "{ half a job");
  await untilPrinted(/it is not valid JSON/);
  write(place, "test_input.json", '{"input": {"name": "zz"}}');
  await untilPrinted(/"zz333"/);
  assert.equal(await fettle.stop(), 0);
});

test("the profile serves RunPod with a handler of RunPod's own form, and restarts it when it dies", { timeout: 120_000 }, async () => {
  await using place = createPlace();
  await using platform = await startRunpodPlatform();
  const dir = mkdtempSync(join(place.dir, "marks-"));
  write(
    place,
    "handler.py",
    `import os, runpod
def handler(job):
    mark = ${JSON.stringify(dir)} + "/died"
    if job["input"]["at"] == 1 and not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(9)
    return {"id": job["id"], "at": job["input"]["at"]}
runpod.serverless.start({"handler": handler})
`,
  );
  const more = ["--set", "sources.http.port=0", "--set", "health.enabled=false", "--set", "sources.runpod.fitness.enabled=false"];
  const fettle = place.run([...start, ...more], { env: { ...env(place), ...platform.env() } });
  platform.submit(...[0, 1, 2].map((at) => ({ id: `job-${at}`, input: { at } })));
  await platform.waitForAll(limit(60_000));
  const texts = [0, 1, 2].map((at) => JSON.parse(platform.results(`job-${at}`)[0]?.text ?? "") as unknown);
  assert.deepEqual(
    texts,
    [0, 1, 2].map((at) => ({ output: { id: `job-${at}`, at } })),
  );
  assert.equal(await fettle.stop(), 0, fettle.said());
  assert.deepEqual(platform.violations, []);
});

test("a handler that ignores a cancel is restarted, and the next job runs", { timeout: 120_000 }, async () => {
  await using place = createPlace();
  write(
    place,
    "handler.py",
    `import time
def deaf():
    while True:
        try:
            print("deaf now")
            time.sleep(600)
        except BaseException:
            pass
def handler(job):
    while job["input"].get("deaf"):
        try:
            deaf()
        except BaseException:
            pass
    return {"webhook": job.get("note")}
`,
  );
  const more = ["--set", "sources.http.port=0", "--set", "health.enabled=false", "--set", "jobs.letGo=1s", "--set", "jobs.loading=1s"];
  const fettle = place.run([...start, ...more], { env: env(place) });
  const [, url = ""] = await fettle.untilSaid(/Jobs are taken at (\S+)/);
  const ask = async (path: string, body?: unknown) => {
    const response = await fetch(url + path, { method: "POST", ...(body !== undefined && { body: JSON.stringify(body) }), ...limit(60_000) });
    return (await response.json()) as Record<string, unknown>;
  };
  const { id } = await ask("/run", { input: { deaf: true } });
  await fettle.untilSaid(/deaf now/);
  await ask(`/cancel/${String(id)}`);
  const next = await ask("/runsync?wait=60000", { input: {}, note: "passed on" });
  assert.deepEqual([next["status"], next["output"]], ["COMPLETED", { webhook: "passed on" }], JSON.stringify(next));
  assert.match(fettle.said(), /Serving [^]*Serving /);
  assert.equal(await fettle.stop(), 0);
});

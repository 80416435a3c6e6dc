import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createRig, program } from "../supervise/rig.ts";

interface Answer {
  readonly code: number;
  readonly out: string;
  readonly talk: string;
}

interface Row {
  readonly id: string;
  readonly state: string;
  readonly message: string;
  readonly fix?: string;
}

const main = join(import.meta.dirname, "../../src/main.ts");

/** A folder that is the whole world of one run: configuration, state, nothing inherited but the PATH. */
function createPlace() {
  const dir = mkdtempSync(join(tmpdir(), "fettle-doctor-cli-"));
  const base = {
    PATH: process.env["PATH"],
    HOME: dir,
    FETTLE_STATE_DIR: join(dir, "state"),
    FETTLE_LOG_DIR: join(dir, "log"),
    FETTLE_RUNTIME_DIR: join(dir, "run"),
  };
  return {
    dir,
    write(name: string, content: string | Buffer) {
      writeFileSync(join(dir, name), content);
      return join(dir, name);
    },
    run(args: readonly string[], { env = {}, uid }: { env?: Record<string, string>; uid?: number } = {}): Promise<Answer> {
      const [command = "", ...rest] = program(main, "doctor", ...args);
      return new Promise((resolve) => {
        const options = { cwd: dir, env: { ...base, ...env }, ...(uid !== undefined && { uid }) };
        const child = execFile(command, rest, options, (_, out, talk) => resolve({ code: child.exitCode ?? -1, out, talk }));
      });
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

const rowsOf = ({ out }: Answer) => (JSON.parse(out) as { checks: Row[] }).checks;
const rowOf = (answer: Answer, id: string) => rowsOf(answer).find((one) => one.id === id);

test("fettle doctor looks at everything, in text and JSON, and its exit says whether anything is critical", async () => {
  using place = createPlace();
  const json = await place.run(["--json"]);
  const report = JSON.parse(json.out) as { ok: boolean; summary: Record<string, number>; checks: Row[] };
  assert.equal(json.code, report.ok ? 0 : 1);
  assert.equal(report.ok, report.summary["critical"] === 0);
  assert.ok(report.checks.length > 25, json.out);
  assert.ok(report.checks.filter(({ state }) => state === "warning" || state === "critical").every(({ fix }) => (fix ?? "").length > 0));
  assert.equal(report.checks.find(({ id }) => id === "disk.writable:stateDir")?.state, "ok");
  const text = await place.run(["--only", "config,disk.writable"]);
  assert.equal(text.code, 0);
  assert.match(text.out, /^config\n {2}\[✓\] configuration: profile demo\n[^]*\ndisk\n[^]*\n0 critical, 0 warnings, \d+ ok, 0 not checked\n$/);
  const typo = await place.run(["--only", "gpuu"]);
  assert.deepEqual([typo.code, typo.out], [2, ""]);
  assert.match(typo.talk, /Did you mean gpu\?/);
});

test("a port that somebody else holds is named with the holder's pid", async () => {
  using place = createPlace();
  const server = createServer();
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const answer = await place.run(["--json", "--only", "ports", "--set", `sources.http.port=${port}`, "--set", "health.enabled=false"]);
  const row = rowOf(answer, `ports.free:${port}`);
  assert.equal(answer.code, 1);
  assert.match(
    `${row?.state} ${row?.message}`,
    new RegExp(`^critical the job API wants it, but pid ${process.pid} \\(.+\\) listens on 127\\.0\\.0\\.1:${port}$`),
  );
  assert.equal(row?.fix, `kill ${process.pid}, or set sources.http.port to another port`);
  await new Promise((resolve) => server.close(resolve));
  const later = await place.run(["--json", "--only", "ports", "--set", `sources.http.port=${port}`]);
  assert.equal(rowOf(later, `ports.free:${port}`)?.state, "ok");
});

test("a cut-off checkpoint, a preload that is gone and a broken configuration are findings with a fix", async () => {
  using place = createPlace();
  const header = Buffer.from(JSON.stringify({ a: { dtype: "U8", shape: [100], data_offsets: [0, 100] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const model = place.write("m.safetensors", Buffer.concat([length, header, Buffer.alloc(60)]));
  place.write("fettle.yaml", `extends: a1111-runpod\nengines: { webui: { directory: ., args: [--ckpt, ${model}] } }\n`);
  const cut = await place.run(["--json", "--only", "engine,memory.preload"], { env: { LD_PRELOAD: "/no/such/libtcmalloc.so.4" } });
  assert.match(rowOf(cut, "engine.model:webui")?.message ?? "", /it is cut off: \d+ of \d+ bytes$/);
  assert.match(rowOf(cut, "engine.program:webui")?.message ?? "", /holds no webui\.py$/);
  assert.equal(rowOf(cut, "memory.preload:fettle")?.fix, "unset LD_PRELOAD");
  place.write("fettle.yaml", "extends: demo\nengnes: {}\n");
  const broken = await place.run(["--json"], { env: { HF_TOKEN: "hunter22" } });
  assert.deepEqual([broken.code, rowOf(broken, "config.valid")?.fix], [1, 'Did you mean "engines"?']);
  assert.equal(rowOf(broken, "ports.free")?.message, "skipped: blocked by config.valid");
  assert.notEqual(rowOf(broken, "memory.limit")?.state, "not-checked");
});

test("a secret of the environment is masked wherever it would show", async () => {
  using place = createPlace();
  const answer = await place.run(["--only", "memory.preload"], { env: { HF_TOKEN: "hunter22", LD_PRELOAD: "/opt/hunter22/lib.so" } });
  assert.match(answer.out, /\/opt\/\*\*\*\/lib\.so does not exist/);
  assert.ok(!answer.out.includes("hunter22"));
});

test("a folder that this user cannot write to is critical", async (t) => {
  using place = createPlace();
  const closed = join(place.dir, "closed");
  mkdirSync(closed);
  chmodSync(closed, 0o500);
  const env = { FETTLE_STATE_DIR: join(closed, "state") };
  const asRoot = process.getuid?.() === 0;
  if (asRoot) {
    // Root may write anywhere: give the run to nobody, who must be able to read the sources for that.
    chmodSync(place.dir, 0o755);
    const probe = await place.run(["--help"], { uid: 65_534 });
    if (probe.code !== 0) return t.skip("nobody cannot run the sources from here");
  }
  const answer = await place.run(["--json", "--only", "disk.writable"], { env, ...(asRoot && { uid: 65_534 }) });
  const row = rowOf(answer, "disk.writable:stateDir");
  assert.match(`${row?.state} ${row?.message}`, /^critical .*closed\/state \(will be made in .*closed\): permission denied$/);
});

test("a running fettle is asked: its ports are its own, and a service in a crash loop is critical", async () => {
  using place = createPlace();
  await using rig = await createRig();
  const run = rig.run(
    rig.plan([
      rig.service("webui"),
      { ...rig.service("broken"), argv: ["/bin/sh", "-c", "echo no such model; exit 4"], restart: { ...rig.service("x").restart, maxRestarts: 0 } },
    ]),
  );
  await rig.started("webui");
  await run.event("service.crash-looping", "broken");
  const answer = await place.run(["--json", "--only", "instance"], { env: { FETTLE_RUNTIME_DIR: join(rig.dir, "run") } });
  assert.equal(answer.code, 1);
  const broken = rowOf(answer, "instance.services:broken");
  assert.match(`${broken?.state} ${broken?.message} ${broken?.fix}`, /^critical crash-looping.*no such model fettle service logs broken$/);
  assert.equal(rowOf(answer, "instance.services:webui")?.state, "ok");
});

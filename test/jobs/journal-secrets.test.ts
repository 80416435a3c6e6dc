import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ask, post } from "../server/http-rig.ts";
import { createScriptedEngine } from "./scripted-engine.ts";
import { httpConfig, startRig } from "./worker-rig.ts";

const secret = "a-secret-of-the-caller";
const s3Config = { accessId: "AK", accessSecret: secret, bucketName: "pics", endpointUrl: "https://s3.example.com" };

function findText(dir: string, text: string): string[] {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" }).map((name) => join(dir, name));
  return files.filter((file) => statSync(file).isFile() && readFileSync(file, "latin1").includes(text));
}

test("the keys of a bucket that a job brought are nowhere on the disk once it has ended, and it cannot run again", { timeout: 30_000 }, async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "fettle-secret-"));
  try {
    const options = { sources: { http: httpConfig() }, stateDir };
    {
      await using rig = await startRig(createScriptedEngine(), options);
      const url = await rig.untilListening();
      const { json } = await ask(`${url}/runsync`, { id: "a", input: {}, s3Config });
      assert.ok(json["status"] === "COMPLETED" || json["status"] === "FAILED");
      assert.equal((await post(`${url}/retry/a`)).json["code"], "job.input-gone");
      await ask(`${url}/runsync`, { id: "b", input: {} });
      assert.equal((await post(`${url}/retry/b`)).status, 200);
      assert.equal((await ask(`${url}/runsync`, { id: "b", input: {} })).json["status"], "COMPLETED");
    }
    assert.deepEqual(findText(stateDir, secret), []);
  } finally {
    rmSync(stateDir, { recursive: true, force: true });
  }
});

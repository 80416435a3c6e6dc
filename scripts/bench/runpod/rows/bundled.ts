// What the gain rows share: fettle with its bundled diffusers engine and a tiny model, which fettle itself launches.
import { findFreePorts } from "../../../../src/machine/free-ports.ts";
import { handedToPosted, limit, pause, type Session, withSession } from "../session.ts";
import { fettleLaunch, type Programs } from "../sides.ts";
import type { Bench } from "./row.ts";

export const missing = ({ enginePython }: Programs): string | undefined =>
  enginePython === undefined ? "no Python with torch and diffusers (--engine-python)" : undefined;

/** Small, so that what is saved is the cost of a call and not of its arithmetic. */
export const smallJob = { steps: 6, width: 64, height: 64 };

export interface BundledSession extends Session {
  readonly engineUrl: string;
}

/** `measure` gets a worker whose engine has made one picture. */
export async function withBundledEngine(
  { programs, samples }: Bench,
  { concurrency, jobs }: { concurrency: number; jobs: Readonly<Record<string, unknown>> },
  measure: (session: BundledSession) => Promise<void>,
): Promise<void> {
  const [port = 0] = await findFreePorts(1);
  const engine = { kind: "diffusers", python: programs.enginePython, port, tinyModel: true, device: "cpu", env: { OMP_NUM_THREADS: "1" } };
  const launch = fettleLaunch(programs, { concurrency, jobs, engine });
  await withSession(launch, samples, async (session) => {
    session.platform.submit({ id: "warm", input: { ...smallJob, prompt: "warm", seed: 0 } });
    await handedToPosted(session.platform, "warm");
    await session.platform.waitForHeldTake(limit(60_000));
    await measure({ ...session, engineUrl: `http://127.0.0.1:${port}` });
  });
}

/** Until the engine has hashed its checkpoint, nothing can be kept in the cache. */
export async function untilHashed(engineUrl: string): Promise<void> {
  for (const giveUpAtMs = performance.now() + 60_000; performance.now() < giveUpAtMs; await pause(50)) {
    const options = (await (await fetch(`${engineUrl}/sdapi/v1/options`)).json()) as { sd_checkpoint_hash?: string };
    if (options.sd_checkpoint_hash) return;
  }
  throw new Error("The engine has not hashed its checkpoint within a minute.");
}

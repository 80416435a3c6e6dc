import { reasonOf } from "../../errors/fettle-error.ts";
import type { ServiceStatus } from "../../control/protocol.ts";
import { about, type Check, critical, type Finding, notChecked, ok, warning } from "../check.ts";

export const instanceChecks: readonly Check[] = [
  {
    id: "instance.running",
    subject: "instance",
    title: "running fettle",
    needs: ["config.valid"],
    async check({ instance, valid }) {
      let found: Awaited<ReturnType<typeof instance>>;
      try {
        found = await instance();
      } catch (error) {
        return notChecked(`its control socket in ${valid.runtimeDir} does not answer: ${reasonOf(error)}`);
      }
      if (found === undefined) return notChecked(`none answers in ${valid.runtimeDir}`);
      const text = `${found.state}, profile ${found.profile}, pid ${found.pid}, version ${found.version}`;
      const facts = { state: found.state, pid: found.pid, profile: found.profile, version: found.version };
      return found.state === "degraded" || found.state === "stopping" ? warning(text, "fettle service list", facts) : ok(text, facts);
    },
  },
  {
    id: "instance.services",
    subject: "instance",
    title: "service",
    needs: ["instance.running"],
    async check({ instance }) {
      const services = (await instance())?.services ?? [];
      if (services.length === 0) return notChecked("it runs no services");
      return services.map((service) => about(service.name, findingOf(service)));
    },
  },
  {
    id: "instance.complaints",
    subject: "instance",
    title: "runs without",
    needs: ["instance.running"],
    async check({ instance }) {
      const complaints = ((await instance())?.services ?? []).flatMap(({ name, complaints: list = [] }) => list.map((one) => ({ name, ...one })));
      if (complaints.length === 0) return notChecked("no service says that it lacks something");
      return complaints.map(({ name, what, why }) =>
        about(name, warning(`${what}${why === undefined ? "" : `: ${why}`}`, `fettle service logs ${name}`, { what, ...(why !== undefined && { why }) })),
      );
    },
  },
];

function findingOf(service: ServiceStatus): Finding {
  const { name, state, restarts, reason, lastLines, ending, role } = service;
  const text = [state, ...(reason === undefined ? [] : [reason])].join(": ");
  const facts = { state, restarts, ...(lastLines && { lastLines }) };
  const last = (lastLines ?? []).slice(-3).join(" | ");
  const said = last === "" ? "" : `; it last said: ${last}`;
  const logs = `fettle service logs ${name}`;
  if (state === "crash-looping") return critical(`${text}, ${restarts} restarts${said}`, logs, facts);
  if (state === "backing-off" || state === "unready") return warning(`${text}${said}`, logs, facts);
  if (state === "exited" && role !== "task" && ending !== undefined) return warning(`${text}${said}`, `fettle service restart ${name}`, facts);
  return ok(restarts > 0 ? `${text}, ${restarts} restart${restarts === 1 ? "" : "s"} so far` : text, facts);
}

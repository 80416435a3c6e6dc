import { type Parameter, type Route, routes, type Schema } from "./routes.ts";
import { schemas } from "./schemas.ts";

const meanings: Readonly<Record<number, string>> = {
  204: "Not yet: no engine is ready.",
  400: "The body is no JSON.",
  401: "The key is missing or wrong.",
  403: "A web page of another origin, or a Host that is not allowed.",
  404: "There is no such job, or its result is not kept any more.",
  408: "The body did not arrive.",
  409: "Not in this state of the job.",
  413: "The body is too large.",
  422: "The body is no job; `path` names the field. Or the id belongs to a job with another body.",
  503: "Not now: too many jobs wait, or fettle is stopping. `Retry-After` says when to ask again.",
};

/** The OpenAPI 3.1 description of the job API; a script writes it to openapi.json. */
export function buildOpenapi(): Schema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes as readonly Route[]) (paths[route.path] ??= {})[route.method] = operationOf(route);
  return {
    openapi: "3.1.0",
    info: {
      title: "fettle job API",
      version: "1",
      summary: "Image-generation jobs in RunPod's endpoint shapes.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [
      { url: "/", description: "This instance." },
      {
        url: "/v2/{endpoint}",
        description: "As RunPod's clients write it; any name will do.",
        variables: { endpoint: { default: "local" } },
      },
    ],
    security: [{}, { key: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: { key: { type: "http", scheme: "bearer", description: "sources.http.apiKey, when it is set." } },
    },
  };
}

function operationOf({ id, summary, description, parameters = [], takesJob, answer, statuses, isOpen }: Route): Schema {
  const others = [...statuses, ...(isOpen ? [] : [401, 403])].sort((a, b) => a - b);
  return {
    operationId: id,
    summary,
    description,
    ...(parameters.length > 0 && { parameters: parameters.map(parameterOf) }),
    ...(takesJob && {
      requestBody: {
        required: true,
        content: { "application/json": { schema: ref("JobRequest"), example: { input: { prompt: "a lighthouse", steps: 20 } } } },
      },
    }),
    responses: {
      200: { description: "Good.", content: "schema" in answer ? json(answer.schema) : { [answer.type]: { schema: contentSchema(answer.type) } } },
      ...Object.fromEntries(others.map((status) => [status, responseOf(status)])),
    },
    ...(isOpen && { security: [{}] }),
  };
}

const parameterOf = ({ name, in: place, description, schema }: Parameter): Schema => ({
  name,
  in: place,
  description,
  schema,
  ...(place === "path" && { required: true }),
});
const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const json = (name: string): Schema => ({ "application/json": { schema: ref(name) } });
const contentSchema = (type: string): Schema => (type === "application/json" ? { type: "object" } : { type: "string" });

function responseOf(status: number): Schema {
  return {
    description: meanings[status] ?? "",
    ...(status !== 204 && { content: json("Error") }),
    ...(status === 503 && { headers: { "Retry-After": { description: "Seconds.", schema: { type: "integer" } } } }),
  };
}

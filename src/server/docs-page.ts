import { version } from "../version.ts";
import { type Route, routes } from "./routes.ts";

let page: string | undefined;

/** The job API for people: one page, no script, nothing from elsewhere. */
export function docsPage(): string {
  return (page ??= write());
}

const style = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{padding:.7rem 1rem;overflow-x:auto;border:1px solid #8886;border-radius:6px}
table{border-collapse:collapse}td{padding:.1rem .9rem .1rem 0;vertical-align:top}.m{font-weight:600}`;

const examples: readonly (readonly [string, string])[] = [
  ["Run a job and wait for its images", `curl -s $URL/runsync -d '{"input": {"prompt": "a lighthouse", "steps": 20}}'`],
  ["Queue a job under your own id; sending it again does not run it twice", `curl -s $URL/run -d '{"id": "my-1", "input": {"prompt": "a lighthouse"}}'`],
  ["Ask for it", `curl -s $URL/status/my-1`],
  ["Follow it, with pictures of the work", `curl -sN "$URL/events?job=my-1&previews=1"`],
  ["Cancel it, run it again", `curl -s -X POST $URL/cancel/my-1\ncurl -s -X POST $URL/retry/my-1`],
  ["Have the result sent", `curl -s $URL/run -d '{"input": {"prompt": "a lighthouse"}, "webhook": "https://example.com/hook"}'`],
  ["With a key", `curl -s -H "Authorization: Bearer $FETTLE_API_KEY" $URL/health`],
];

function write(): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>fettle job API</title>
<style>${style}</style></head><body><h1>fettle job API <small>${escape(version)}</small></h1>
<p>Image-generation jobs in RunPod's endpoint shapes. Every route also answers under <code>/v2/ANY-NAME</code>, so RunPod's own clients work:
set their base address to <code>http://HOST:PORT/v2</code>. The machine-readable form is <a href="openapi.json">openapi.json</a>.</p>
<h2>Examples</h2><pre>URL=http://127.0.0.1:8000</pre>${examples.map(([what, line]) => `<p>${escape(what)}</p><pre>${escape(line)}</pre>`).join("")}
${(routes as readonly Route[]).map(section).join("\n")}
<h2>Errors</h2><p>An error is JSON: <code>error</code> is a sentence, <code>code</code> is stable, <code>hint</code> says what helps, and
<code>path</code> names the field that is wrong. A job that failed is answered with 200, <code>"status": "FAILED"</code>, <code>error</code> and
<code>errorCode</code>.</p></body></html>`;
}

function section({ method, path, summary, description, parameters = [] }: Route): string {
  const rows = parameters
    .filter((one) => one.in !== "path")
    .map(({ name, in: place, description: what }) => `<tr><td><code>${place === "query" ? "?" : ""}${escape(name)}</code></td><td>${escape(what)}</td></tr>`)
    .join("");
  return `<h2><span class="m">${method.toUpperCase()}</span> <code>${escape(path)}</code></h2><p>${escape(summary)}. ${escape(description)}</p>${rows && `<table>${rows}</table>`}`;
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

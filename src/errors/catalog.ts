// errors/ owns what a failure looks like to a person: one catalog of codes, one error class, two printers.
// Takes: a code and its details. Gives: `FettleError`, and text or JSON for it. Must not know any other folder.
// A new failure is a row here; the text of the message is written where it happens ("Cannot <verb> <thing>: <reason>.").

/** Process exit codes; the table in docs/errors.md is generated from the catalog. */
export const exits = {
  done: 0,
  /** The thing asked for failed, or is not ready. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** Something this machine must have is missing; `fettle doctor` names it. */
  environment: 3,
  /** A bug in fettle itself. */
  bug: 70,
} as const;

export interface CatalogEntry {
  readonly title: string;
  /** What the user can type or change; shown when the place of failure gives no better hint. */
  readonly hint: string;
  readonly exitCode: number;
  /** May the same request succeed when tried again unchanged? Retries read this, never the message. */
  readonly retryable?: true;
}

const row = (title: string, hint: string, exitCode: number, retryable?: true): CatalogEntry =>
  retryable ? { title, hint, exitCode, retryable } : { title, hint, exitCode };

export const catalog = {
  "cli.unknown-command": row("Unknown command", "Run `fettle --help` for the list.", exits.usage),
  "cli.unknown-flag": row("Unknown flag", "Run the command with --help for its flags.", exits.usage),
  "cli.bad-value": row("Bad value on the command line", "Run the command with --help for what it takes.", exits.usage),

  "config.not-found": row("Configuration file not found", "Write one with `fettle config init`.", exits.usage),
  "config.syntax": row("Configuration is not valid YAML", "Mend the line shown.", exits.usage),
  "config.invalid": row("Configuration is not valid", "`fettle config schema` says what each key takes.", exits.usage),
  "config.unknown-key": row("Unknown key in the configuration", "`fettle config schema` lists the keys.", exits.usage),
  "config.unknown-profile": row("Unknown profile", "`fettle config show --profile NAME` prints a built-in one.", exits.usage),
  "config.missing-variable": row("A variable has no value", "Set it, or give a default: ${NAME:-default}.", exits.usage),
  "config.too-large": row("Configuration is too large", "Shorten it; aliases must not multiply.", exits.usage),

  "config.open-to-world": row("Open to other machines without a key", "Set sources.http.apiKey (FETTLE_API_KEY), or listen on 127.0.0.1.", exits.usage),

  "plan.cycle": row("Services wait for each other", "Remove one of the dependencies shown.", exits.usage),
  "plan.missing-dependency": row("A dependency does not exist", "Name a declared service, or declare it.", exits.usage),
  "plan.unknown-phase": row("A phase does not exist", "Name a declared phase, or declare it.", exits.usage),
  "plan.port-taken-twice": row("Two services want one port", "Give one of them another port.", exits.usage),

  "supervise.spawn-failed": row("A program cannot be started", "Run `fettle doctor`.", exits.environment),
  "supervise.not-ready": row("A service did not become ready", "Read its log: `fettle service logs NAME`.", exits.failed),
  "supervise.already-running": row("Another fettle runs here", "Stop it, or give this one its own runtimeDir.", exits.failed),
  "supervise.no-instance": row("No running fettle found", "Start one with `fettle start`, or name it with --url.", exits.failed, true),
  "supervise.unknown-service": row("Unknown service", "`fettle service list` shows the names.", exits.usage),
  "supervise.stopping": row("fettle is stopping", "Start it again with `fettle start`.", exits.failed),
  "supervise.cannot-write": row("A file cannot be written", "Check the folder's rights and the disk's free space.", exits.environment),

  "phase.not-accessible": row("A folder cannot be used", "Check the volume's mount and its rights: `mount | grep PATH`, `ls -la PATH`.", exits.failed),
  "phase.cannot-link": row("A link cannot be made", "Look at what stands in its place; move it away, or set onFolder.", exits.failed),
  "phase.cannot-write": row("A file or folder of the boot cannot be made", "Check the folder's rights and the disk's free space.", exits.failed),
  "phase.check-failed": row("A check of the boot failed", "Read the log of the service it asks: `fettle service logs NAME`.", exits.failed),

  "engine.unreachable": row("The engine cannot be reached", "Run `fettle doctor`; read the engine's log.", exits.failed, true),
  "engine.lost": row("The engine died while it ran the job", "The engine is restarted; send the job again.", exits.failed, true),
  "engine.timeout": row("The engine took too long", "Ask for fewer steps or a smaller image, or raise the job timeout.", exits.failed),
  "engine.rejected": row("The engine refused the job", "Correct the field that the engine names.", exits.failed),
  "engine.failed": row("The engine failed on the job", "Read the engine's log: `fettle service logs NAME`.", exits.failed),
  "engine.out-of-memory": row("The engine ran out of memory", "Ask for a smaller image or batch.", exits.failed),
  "engine.cuda-error": row(
    "The GPU is in an error state",
    "The engine is restarted; if it comes again, run `fettle doctor` and look at `nvidia-smi`.",
    exits.failed,
    true,
  ),
  "engine.stalled": row("The engine stopped making progress", "It was interrupted; if it comes again, read its log or raise jobs.stall.", exits.failed, true),
  "engine.unsupported": row("This kind of engine cannot be used so", "Name an engine of another kind; `fettle config schema` lists them.", exits.failed),
  "engine.bad-answer": row("The engine's answer cannot be read", "Read the engine's log; is this really that engine's port?", exits.failed),

  "handler.failed": row("The handler failed on the job", "Read the traceback; run it alone with `fettle start` and a test_input.json.", exits.failed),

  "job.invalid": row("The job is not valid", "Correct the field named.", exits.usage),
  "job.too-large": row("The job is too large", "Send images by URL, or smaller ones.", exits.usage),
  "job.input-unreachable": row(
    "A file that the job names cannot be fetched",
    "Check that its URL is public and answers, or send the image itself as base64.",
    exits.failed,
    true,
  ),
  "job.unknown": row("Unknown job", "The id may be wrong, or its result has expired.", exits.failed),
  "job.cancelled": row("The job was cancelled", "Send it again if that was not meant.", exits.failed),
  "job.lost-too-often": row("The worker died each time it ran this job", "The job itself may bring it down; read the log.", exits.failed),
  "job.id-reused": row(
    "The id belongs to another job",
    "Take a new id; to ask for the job that is there, send the very same body or ask /status.",
    exits.usage,
  ),
  "job.not-finished": row("The job has not ended", "Wait for its end, or cancel it.", exits.failed, true),
  "job.input-gone": row("The job's input is not kept any more", "Send the job again under a new id.", exits.failed),
  "job.queue-full": row("Too many jobs are waiting", "Try again later.", exits.failed, true),
  "job.shutting-down": row("fettle is shutting down", "Send the job to another machine, or again after the restart.", exits.failed, true),

  "job.unauthorized": row("The request has no valid key", "Send `Authorization: Bearer KEY`.", exits.failed),
  "job.wrong-method": row("The route does not take this method", "Use the method in the Allow header; GET /docs lists the routes.", exits.usage),
  "job.wrong-origin": row(
    "The request comes from a web page or a name that is not allowed",
    "Name it in sources.http.allowOrigins or allowHosts, or set an apiKey.",
    exits.failed,
  ),
  "job.request-failed": row("The job API failed on a request", "That is a bug in fettle; please report it with the log.", exits.bug),

  "result.bad-image": row("An image is not valid", "Read the engine's log; for black images try --no-half-vae.", exits.failed),
  "result.cannot-store": row("A result cannot be stored", "Check the folder's rights and the disk's free space.", exits.failed),
  "result.cannot-upload": row(
    "An image cannot be uploaded",
    "Check the bucket: endpoint, name, region, keys and their right to write (results.s3, BUCKET_ENDPOINT_URL or the job's s3Config).",
    exits.failed,
  ),
  "result.cannot-convert": row(
    "Images cannot be converted",
    "Install Pillow in the engine's Python (`python -m pip install pillow`), or name another with results.python.",
    exits.failed,
  ),
  "result.too-large": row(
    "The result is too large to be delivered",
    "Ask for fewer or smaller images, set results.s3, or allow results.whenTooLarge: reencode.",
    exits.failed,
  ),
  "result.not-delivered": row("A result cannot be delivered", "It stays in the journal and is tried again at the next start.", exits.failed, true),

  "source.cannot-listen": row("The job API cannot listen", "Choose another sources.http.port, or stop what uses it.", exits.environment),
  "source.unreachable": row("A job source cannot be reached", "Check its address and the network.", exits.failed, true),

  "machine.missing-program": row("A program is missing", "Run `fettle doctor`.", exits.environment),
  "machine.state-dir": row("The state folder cannot be used", "Set stateDir to a folder on a local disk.", exits.environment),

  "model.bad-source": row("A model's source is not valid", "Name a local file, hf:OWNER/REPO/FILE@REVISION, civitai:VERSION_ID or an https URL.", exits.usage),
  "model.not-found": row("There is no such model", "Check the path, the name and the revision.", exits.failed),
  "model.unauthorized": row("A model's host asks for a login", "Set HF_TOKEN or CIVITAI_API_KEY.", exits.failed),
  "model.forbidden": row("A model's host gives no access", "Accept the model's licence on its page, and check what the token may do.", exits.failed),
  "model.unreachable": row("A model's host cannot be reached", "Check the network and try again: what was fetched is kept.", exits.failed, true),
  "model.refused-redirect": row("A model's host leads to a place that is not followed", "Use the address that it leads to, if you trust it.", exits.failed),
  "model.wrong-content": row("What came is no model", "Open the address in a browser: it may be a login page.", exits.failed),
  "model.wrong-length": row("A model's length is wrong", "Download it again.", exits.failed),
  "model.wrong-hash": row("A model's sha256 is wrong", "Check the source and the hash.", exits.failed),
  "model.no-space": row("There is no room for a model", "Free some space, or name another folder.", exits.failed),
  "model.cannot-store": row("A model cannot be stored", "Name a folder that can be written.", exits.failed),

  "merge.invalid-recipe": row("The recipe is not valid", "Correct the line shown.", exits.usage),
  "merge.failed": row("The merge failed", "Nothing was written; read the reason above.", exits.failed),
  "merge.invalid-input": row("A model or LoRA file is damaged or is none", "Download the file again, or check its path.", exits.failed),
  "merge.no-match": row("A LoRA, VAE or checkpoint does not fit the model", "Use files made for the same kind of model.", exits.failed),
  "merge.no-space": row("The disk is too small for the output", "Free some space, or write to another disk.", exits.failed),
  "merge.unwritable": row("The output cannot be written there", "Choose a folder that may be written to.", exits.failed),
  "merge.unsafe-pickle": row("A .ckpt file cannot be read safely", "Use the safetensors version of the model.", exits.failed),
  "merge.verify-failed": row("The finished output did not stand its check", "Run it again; if it fails again, report it with the recipe.", exits.failed),
  "merge.interrupted": row("The merge was interrupted", "Nothing was written; run it again.", exits.failed),
  "install.failed": row("An install step failed", "Mend the cause and run the command again; finished steps are skipped.", exits.failed),
} as const satisfies Record<string, CatalogEntry>;

export type ErrorCode = keyof typeof catalog;

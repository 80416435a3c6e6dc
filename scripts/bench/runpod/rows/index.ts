// The table of rows, in the order in which they run and in which `--rows` names them.
import { batching } from "./batching.ts";
import { busy } from "./busy.ts";
import { cache } from "./cache.ts";
import { concurrency } from "./backlog.ts";
import { large } from "./large.ts";
import { latency } from "./latency.ts";
import { sigterm } from "./sigterm.ts";
import { stall } from "./stall.ts";
import type { Row } from "./row.ts";

export const rows: Readonly<Record<string, Row>> = { latency, concurrency, busy, large, stall, sigterm, batching, cache };

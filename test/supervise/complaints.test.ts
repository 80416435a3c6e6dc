import assert from "node:assert/strict";
import { test } from "node:test";
import { describeServices } from "../../commands/service-table.ts";
import { importFailures } from "../../src/engines/comfyui/import-failures.ts";
import { createComplaints } from "../../src/supervise/complaints.ts";
import { createStatus } from "../../src/supervise/status.ts";
import { createRig } from "./rig.ts";

/** As ComfyUI 0.3.64 and 0.33 log them. */
const lines = [
  "ModuleNotFoundError: No module named 'cv2'",
  "Cannot import /app/custom_nodes/impact module for custom nodes: No module named 'cv2'",
  "[WARNING] Cannot import /app/custom_nodes/kj nodes module for custom nodes: bad: colon",
  "Failed to execute startup-script: /app/custom_nodes/early/prestartup_script.py / boom",
  "Import times for custom nodes:",
  "   0.0 seconds: /app/custom_nodes/websocket_image_save.py",
  "   1.2 seconds (IMPORT FAILED): /app/custom_nodes/impact",
  "[INFO]    0.3 seconds (IMPORT FAILED): /app/custom_nodes/silent",
];

test("each custom node that ComfyUI starts without is found once, with its exception where the log has it", () => {
  const find = createComplaints(importFailures);
  const found = [...lines, ...lines].flatMap((line) => find(line) ?? []);
  assert.deepEqual(found, [
    { what: "/app/custom_nodes/impact", why: "No module named 'cv2'" },
    { what: "/app/custom_nodes/kj nodes", why: "bad: colon" },
    { what: "/app/custom_nodes/early/prestartup_script.py", why: "boom" },
    { what: "/app/custom_nodes/silent" },
  ]);
});

test("a program that complains for ever is not listened to for ever", () => {
  const find = createComplaints(importFailures);
  const found = Array.from({ length: 500 }, (_, index) => find(`Cannot import /n/${index} module for custom nodes: x`)).filter((one) => one !== undefined);
  assert.equal(found.length, 200);
});

test("complaints do not keep a service from being ready; status and the table of services show them until it starts anew", async () => {
  await using rig = await createRig();
  const plan = rig.plan([rig.service("comfyui", { complaints: importFailures })]);
  const run = rig.run(plan);
  const status = createStatus(plan);
  const caller = await rig.started("comfyui");
  await run.event("service.ready", "comfyui");
  for (const line of lines) await caller.order({ print: line });
  await run.event("service.complained", "comfyui", 4);
  for (const event of run.events) status.apply(event);
  const [service] = status.snapshot([]).services;
  assert.equal(service?.state, "ready");
  assert.deepEqual(service.complaints?.[0], { what: "/app/custom_nodes/impact", why: "No module named 'cv2'" });
  assert.equal(service.complaints.length, 4);
  assert.match(describeServices({ services: [service] }).join("\n"), /^ +runs without \/app\/custom_nodes\/silent$/m);
  assert.ok(run.lines.some((line) => line.includes("comfyui runs without /app/custom_nodes/impact: No module named 'cv2'")));
  await caller.order({ exit: 1 });
  await rig.started("comfyui", 2);
  for (const event of run.events) status.apply(event);
  assert.equal(status.snapshot([]).services[0]?.complaints, undefined);
  assert.equal(await run.stop(), 0);
});

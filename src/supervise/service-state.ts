import type { Ending } from "../events/event.ts";
import type { Child } from "./child.ts";

/**
 *               dependencies hold          probe passes           fails thrice
 *    waiting ──────────────────▶ starting ─────────────▶ ready ◀──────────────▶ unready
 *       ▲                         │  │ ▲                   │                      │
 *       │ restart (by hand)       │  │ └── backing-off ◀───┴──── child ends ──────┘
 *       │                         │  │          │ too often
 *       ├───────── exited ◀───────┘  │          ▼
 *       │   (policy says so)         │    crash-looping ── restart (by hand) ─▶ waiting
 *       │            ▲               ▼
 *       └─────────── └──────────── stopping        (from every state with a child; waiting and backing-off go straight to exited)
 */
export type ServiceState =
  | { readonly id: "waiting"; readonly reason: string }
  | { readonly id: "starting"; readonly child?: Child }
  | { readonly id: "ready"; readonly child: Child; readonly sinceMs: number }
  | { readonly id: "unready"; readonly child: Child; readonly reason: string }
  | { readonly id: "backing-off"; readonly delayMs: number; readonly restarts: number }
  | { readonly id: "stopping"; readonly child: Child }
  /** `wanted`: somebody asked for it. Without an ending it never ran, for the reason. */
  | { readonly id: "exited"; readonly wanted: boolean; readonly ending?: Ending; readonly reason?: string }
  | { readonly id: "crash-looping"; readonly restarts: number; readonly reason: string; readonly ending?: Ending };

/** The ending of a child that even SIGKILL did not end, or whose end cannot be seen. */
export const unseen: Ending = { code: null, signal: null };

/** "ended with code 1", "died of SIGKILL". */
export function describeEnding({ code, signal }: Ending): string {
  if (code === null && signal === null) return "could not be ended";
  return signal === null ? `ended with code ${code}` : `died of ${signal}`;
}

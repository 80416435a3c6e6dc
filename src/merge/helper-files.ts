// The merge helper as text, so that it travels inside the binary; a test checks that every file of helper/ is in the table.
import halves from "./helper/halves.py" with { type: "text" };
import layouts from "./helper/layouts.py" with { type: "text" };
import loraFile from "./helper/lora_file.py" with { type: "text" };
import merge from "./helper/merge.py" with { type: "text" };
import plan from "./helper/plan.py" with { type: "text" };
import refusal from "./helper/refusal.py" with { type: "text" };
import safetensorsFile from "./helper/safetensors_file.py" with { type: "text" };
import write from "./helper/write.py" with { type: "text" };

export const helperFiles: Readonly<Record<string, string>> = {
  "halves.py": halves,
  "layouts.py": layouts,
  "lora_file.py": loraFile,
  "merge.py": merge,
  "plan.py": plan,
  "refusal.py": refusal,
  "safetensors_file.py": safetensorsFile,
  "write.py": write,
};

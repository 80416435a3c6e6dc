"""One device, many callers: progress and interrupt while a job runs, the queue, skip, and how the engine ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import unittest
from typing import Any

from engine_process import HELPER, LONG, SMALL, EngineProcess, shared_engine, workplace


def info_of(answer: Any) -> Any:
    return json.loads(answer.json["info"])


def is_sampling(state: Any) -> bool:
    """Whether a job is past its first step; the last job's step lingers, so the job count decides."""
    return state["job_count"] > 0 and state["sampling_step"] > 0


class Jobs(unittest.TestCase):
    def setUp(self) -> None:
        self.engine = shared_engine()

    def start(self, body: Any) -> Any:
        """Starts a request and waits until it denoises."""
        request = self.engine.in_background("txt2img", body)
        self.engine.until("sampling", lambda: is_sampling(self.engine.progress()["state"]))
        return request

    def test_progress_while_running_then_interrupt(self) -> None:
        request = self.start({**LONG, "force_task_id": "task(one)"})
        progress = self.engine.get("progress").json
        self.assertGreater(progress["progress"], 0.0)
        self.assertGreater(progress["eta_relative"], 0.0)
        self.assertEqual(progress["current_task"], "task(one)")
        state = progress["state"]
        self.assertEqual((state["job"], state["job_count"], state["job_no"], state["sampling_steps"]), ("scripts_txt2img", 1, 0, 900))
        self.engine.until("a preview", lambda: self.engine.get("progress").json["current_image"])
        self.assertEqual(self.engine.post("interrupt").json, {})
        answer = request.result()
        self.assertEqual(answer.status, 200)
        self.assertEqual(len(answer.json["images"]), 1)
        self.assertTrue(info_of(answer)["interrupted"])
        after = self.engine.progress()
        self.assertEqual((after["progress"], after["state"]["job_count"], after["state"]["interrupted"]), (0.0, 0, True))
        self.assertLess(after["state"]["sampling_step"], 900)

    def test_each_step_gives_a_preview_while_somebody_looks(self) -> None:
        request = self.start(LONG)
        self.engine.get("progress")  # from now on
        first = self.engine.until("a preview", lambda: self.engine.get("progress").json["current_image"])
        shown = self.engine.progress()["state"]["sampling_step"]
        self.engine.until("another", lambda: self.engine.get("progress").json["current_image"] != first)
        self.assertLess(self.engine.progress()["state"]["sampling_step"] - shown, 10)
        self.engine.post("interrupt")
        request.result()

    def test_memory_is_freed_behind_the_running_job_and_the_next_one_loads_again(self) -> None:
        before = self.engine.post("txt2img", {**SMALL, "seed": 5}).json["images"]
        request = self.start(LONG)
        freeing = self.engine.in_background("free-memory", None)
        self.engine.post("interrupt")
        self.assertEqual(request.result().status, 200)
        self.assertEqual((freeing.result().status, freeing.result().json), (200, {}))
        self.assertIsNone(json.loads(self.engine.request("GET", "/internal/ready").body)["checkpoint"])
        self.assertEqual(self.engine.post("txt2img", {**SMALL, "seed": 5}).json["images"], before)

    def test_interrupt_of_several_rounds_gives_what_exists(self) -> None:
        request = self.start({**LONG, "n_iter": 3})
        self.engine.post("interrupt")
        self.assertEqual(len(request.result().json["images"]), 1)

    def test_skip_ends_one_round_only(self) -> None:
        request = self.start({**LONG, "steps": 300, "n_iter": 2})
        self.engine.post("skip")
        self.engine.until("second round", lambda: self.engine.progress()["state"]["job_no"] == 1)
        self.engine.post("interrupt")
        self.assertEqual(len(request.result().json["images"]), 2)

    def test_idle_interrupt_does_not_touch_the_next_job(self) -> None:
        self.engine.post("interrupt")
        answer = self.engine.post("txt2img", SMALL)
        self.assertFalse(info_of(answer)["interrupted"])

    def test_jobs_run_one_after_the_other(self) -> None:
        first = self.start({**LONG, "force_task_id": "task(first)"})
        second = self.engine.in_background("txt2img", {**SMALL, "force_task_id": "task(second)"})
        self.engine.until("one waits", lambda: self.engine.progress()["queued"] == 1)
        self.assertEqual(self.engine.progress()["current_task"], "task(first)")
        self.assertFalse(second.done)
        self.engine.post("interrupt")
        self.assertEqual(first.result().status, 200)
        answer = second.result()
        self.assertFalse(info_of(answer)["interrupted"], "the interrupt belonged to the first job")

    def test_interrupt_by_task_id(self) -> None:
        running = self.start({**LONG, "force_task_id": "task(run)"})
        waiting = self.engine.in_background("txt2img", {**LONG, "force_task_id": "task(wait)"})
        self.engine.until("one waits", lambda: self.engine.progress()["queued"] == 1)
        self.assertEqual(self.engine.post("interrupt", {"force_task_id": "task(other)"}).json, {"interrupted": False, "was": None})
        self.assertEqual(self.engine.post("interrupt", {"force_task_id": "task(wait)"}).json, {"interrupted": True, "was": "queued"})
        dropped = waiting.result()
        self.assertEqual((dropped.status, dropped.json["images"], info_of(dropped)["interrupted"]), (200, [], True))
        self.assertFalse(running.done, "only the named task was to end")
        self.assertEqual(self.engine.post("interrupt?force_task_id=task(run)").json, {"interrupted": True, "was": "running"})
        self.assertEqual(len(running.result().json["images"]), 1)

    def test_full_queue_answers_503(self) -> None:
        running = self.start(LONG)
        waiting = [self.engine.in_background("txt2img", {**SMALL, "force_task_id": f"task({n})"}) for n in range(3)]
        self.engine.until("three wait", lambda: self.engine.progress()["queued"] == 3)
        answer = self.engine.post("txt2img", SMALL)
        self.assertEqual((answer.status, answer.json["error"]), (503, "QueueFullError"))
        self.assertIn("3 jobs are waiting", answer.json["detail"])
        self.assertEqual(self.engine.post("unload-checkpoint").status, 503)
        self.engine.post("interrupt")
        self.assertEqual([request.result().status for request in (running, *waiting)], [200] * 4)


class OutOfMemory(unittest.TestCase):
    @unittest.skipUnless(sys.platform == "linux", "limits another process's memory, which is Linux's")
    def test_an_oom_is_told_and_survived(self) -> None:
        import resource

        # An engine of its own: what the limit leaves behind in the libraries must not meet the other tests.
        engine = EngineProcess("--model", str(workplace() / "models" / "sdxl"), "--max-pixels", str(2048 * 2048))
        self.addCleanup(engine.stop)
        self.assertEqual(engine.post("txt2img", SMALL).status, 200)
        pid = engine.process.pid
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmSize"))
        before = resource.prlimit(pid, resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
        try:
            answer = engine.post("txt2img", {**SMALL, "width": 1024, "height": 1024})
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, before)
        self.assertEqual((answer.status, answer.json["error"]), (500, "OutOfMemoryError"))
        self.assertTrue(answer.json["errors"])
        engine.line("*** OutOfMemoryError")
        self.assertEqual(engine.post("txt2img", SMALL).status, 200)


class Ending(unittest.TestCase):
    """Engines of their own, since each ends."""

    def test_ready_follows_the_load_and_sigterm_in_mid_job(self) -> None:
        engine = EngineProcess("--preload", "--model", str(workplace() / "models" / "sdxl"))
        self.addCleanup(engine.stop)
        answer = engine.request("GET", "/internal/ready")
        self.assertEqual((answer.status, answer.json["ready"]), (503, False))
        self.assertEqual([model["model_name"] for model in engine.get("sd-models").json], ["sdxl"])
        engine.until("ready", lambda: engine.request("GET", "/internal/ready").status == 200)
        running = engine.in_background("txt2img", {**LONG, "width": 256, "height": 256})
        engine.until("sampling", lambda: is_sampling(engine.progress()["state"]))
        waiting = engine.in_background("txt2img", SMALL)
        engine.until("one waits", lambda: engine.progress()["queued"] == 1)
        engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(engine.process.wait(10), 0)
        for request in (running, waiting):
            answer = request.result()
            self.assertEqual((answer.status, answer.json["error"]), (503, "EngineStoppingError"))

    def test_sigint_before_the_model_is_loaded(self) -> None:
        engine = EngineProcess("--model", str(workplace() / "models" / "sdxl"))
        self.addCleanup(engine.stop)
        engine.process.send_signal(signal.SIGINT)
        self.assertEqual(engine.process.wait(10), 0)

    @unittest.skipUnless(sys.platform == "linux", "parent death signals are Linux's")
    def test_dies_with_its_parent(self) -> None:
        # A shell starts the engine, tells its pid and is killed; the pipe closes when the engine is gone.
        command = f'"{sys.executable}" -u "{HELPER}/engine.py" --port 0 --die-with-parent $$ & echo $!; wait'
        shell = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert shell.stdout and shell.stderr
        self.addCleanup(shell.stdout.close)
        self.addCleanup(shell.stderr.close)
        child = int(shell.stdout.readline())
        while "Uvicorn running" not in (line := shell.stderr.readline()):
            self.assertTrue(line, "the engine did not start")
        shell.kill()
        shell.wait()
        shell.stderr.read()
        self.assertFalse(is_alive(child))

    def test_die_with_parent_refuses_a_stranger(self) -> None:
        result = subprocess.run([sys.executable, str(HELPER / "engine.py"), "--port", "0", "--die-with-parent", "1"], capture_output=True)
        self.assertEqual((result.returncode, b"Uvicorn" in result.stderr), (0, False))

    def test_wrong_command_lines(self) -> None:
        for arguments in (["--port", "99999"], ["--device", "tpu"], ["--model", "/nowhere/at/all"], ["--api-auth", "nocolon"], ["--nonsense"]):
            with self.subTest(arguments):
                result = subprocess.run([sys.executable, str(HELPER / "engine.py"), *arguments], capture_output=True, text=True)
                self.assertEqual(result.returncode, 2)
                self.assertIn(arguments[0] if arguments[0] != "--nonsense" else "unrecognized", result.stderr)

    def test_missing_packages(self) -> None:
        # Without site-packages nothing that is needed can be found.
        result = subprocess.run([sys.executable, "-S", str(HELPER / "engine.py")], capture_output=True, text=True)
        self.assertEqual(result.returncode, 3)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1)
        self.assertIn("torch, diffusers", result.stderr)
        self.assertIn("pip install", result.stderr)

    def test_port_in_use(self) -> None:
        port = shared_engine().port
        result = subprocess.run([sys.executable, str(HELPER / "engine.py"), "--port", str(port)], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"Cannot listen on 127.0.0.1:{port}", result.stderr)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended but was not collected yet does not."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except (ProcessLookupError, FileNotFoundError):
            return False
    return True


if __name__ == "__main__":
    unittest.main()

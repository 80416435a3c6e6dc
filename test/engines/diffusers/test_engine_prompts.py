"""Reading of prompts and infotexts: pure, no engine."""

from __future__ import annotations

import time
import unittest

import engine_process  # noqa: F401 - puts the engine's folder on the path

# isort: split
import infotext
import prompt
import samplers


def weighed(text: str) -> list[tuple[str, float]]:
    return [(piece.text, round(piece.weight, 4)) for piece in prompt.parse_attention(text)]


class Attention(unittest.TestCase):
    def test_weights(self) -> None:
        for text, expected in (
            ("plain words", [("plain words", 1.0)]),
            ("a (b) c", [("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
            ("((b))", [("b", 1.21)]),
            ("[b]", [("b", 0.9091)]),
            ("(b:1.5)", [("b", 1.5)]),
            ("((b:2) c:1.5)", [("b", 3.0), (" c", 1.5)]),
            (r"\(b\)", [("(b)", 1.0)]),
            ("(unclosed", [("unclosed", 1.1)]),
            ("closed)", [("closed)", 1.0)]),
            ("a: b", [("a: b", 1.0)]),
            ("[a:b:0.5]", [("a:b:0.5", 0.9091)]),
            ("", []),
        ):
            with self.subTest(text):
                self.assertEqual(weighed(text), expected)

    def test_break(self) -> None:
        self.assertEqual([piece.is_break for piece in prompt.parse_attention("a BREAK b")], [False, True, False])
        self.assertEqual(weighed("BREAKING"), [("BREAKING", 1.0)])

    def test_extra_networks(self) -> None:
        self.assertEqual(prompt.strip_extra_networks("a <lora:x y:0.5> b <hypernet:z>"), ("a  b ", ["x y", "z"]))

    def test_windows_end_at_a_comma(self) -> None:
        class Letters:
            """A tokenizer whose tokens are characters."""

            def __call__(self, text: str, **_: object) -> object:
                return type("Ids", (), {"input_ids": [ord(char) for char in text]})()

        windows = prompt.split_windows([prompt.Piece("a" * 70 + "," + "b" * 10)], Letters())
        self.assertEqual([len(ids) for ids in windows.ids], [71, 10])
        windows = prompt.split_windows([prompt.Piece("a" * 40 + "," + "b" * 40)], Letters())
        self.assertEqual([len(ids) for ids in windows.ids], [75, 6])
        windows = prompt.split_windows([prompt.Piece("x" * 20000)], Letters())
        self.assertTrue(windows.cut)

    def test_brackets_cost_little(self) -> None:
        started = time.process_time()
        for text in ("(a" * 30_000, "[" * 30_000, "(a)" * 30_000, "(:" * 30_000):
            prompt.parse_attention(text)
        self.assertLess(time.process_time() - started, 10, "grows with the square of the length")


class Infotext(unittest.TestCase):
    def test_round_trip(self) -> None:
        values = {"Steps": 20, "Sampler": "Euler", "Odd": 'a, "b": c', "Left out": None, "Size": "512x768"}
        text = infotext.write("a cat\nin two lines", "bad: one, two", values)
        read = infotext.read(text)
        self.assertEqual((read["Prompt"], read["Negative prompt"]), ("a cat\nin two lines", "bad: one, two"))
        self.assertEqual((read["Odd"], read["Size-1"], read["Size-2"], read["Clip skip"]), ('a, "b": c', "512", "768", "1"))
        self.assertNotIn("Left out", read)
        self.assertEqual(infotext.read(""), {})
        self.assertEqual(infotext.read("only words")["Prompt"], "only words")


class Samplers(unittest.TestCase):
    def test_names(self) -> None:
        for name, schedule, expected in (
            ("Euler", None, ("Euler", "Automatic", 0)),
            ("DPM++ 2M Karras", None, ("DPM++ 2M", "Automatic", 0)),  # Karras is what Automatic means for it
            ("DPM++ 2M SDE Karras", "Automatic", ("DPM++ 2M SDE", "Karras", 0)),
            ("Euler", "karras", ("Euler", "Karras", 0)),
            ("Euler a", "Karras", ("Euler a", "Automatic", 1)),
            ("pndm", "SGMUniform", ("PLMS", "SGM Uniform", 0)),
            ("nonsense Karras", None, ("DPM++ 2M", "Automatic", 1)),
            (None, "nonsense", ("DPM++ 2M", "Automatic", 1)),
        ):
            with self.subTest(name, schedule=schedule):
                sampler, chosen, warnings = samplers.choose(name, schedule)
                self.assertEqual((sampler.name, chosen.label, len(warnings)), expected)


if __name__ == "__main__":
    unittest.main()

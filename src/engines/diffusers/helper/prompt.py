"""Prompts in A1111's syntax → text embeddings.

Owns: (attention:1.2), [less], BREAK, and prompts longer than CLIP's 77 tokens (cut into windows of 75, embedded one by
one, joined along the sequence). Prompt editing such as [a:b:0.5] and AND are not read; they pass as plain words.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from counters import count

log = logging.getLogger("engine")
WINDOW = 75
COMMA_REACH = 20  # A1111 moves the tokens after the last comma to the next window when it is at most this far back
MAX_TOKENS = 75 * 200
MAX_DEPTH = 64  # brackets nested deeper are plain text; it keeps hostile prompts cheap
_UP, _DOWN = 1.1, 1 / 1.1
_TOKEN = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
_EXTRA_NETWORK = re.compile(r"<(lora|lyco|hypernet):([^:>]+)(?::[^>]*)?>")


@dataclass
class Piece:
    """A stretch of prompt text and how strongly it counts. `is_break` marks the BREAK keyword."""

    text: str
    weight: float = 1.0
    is_break: bool = False


def strip_extra_networks(text: str) -> tuple[str, list[str]]:
    """Removes <lora:name:weight> and its kind, which are no words; gives the names that were asked for."""
    names = [match[2] for match in _EXTRA_NETWORK.finditer(text)]
    return _EXTRA_NETWORK.sub("", text), names


def parse_attention(text: str) -> list[Piece]:
    """Splits a prompt into weighted pieces: (a) ×1.1, [a] ÷1.1, (a:1.5) ×1.5, backslash escapes a bracket."""
    pieces: list[Piece] = []
    round_starts: list[int] = []
    square_starts: list[int] = []

    def scale(start: int, factor: float) -> None:
        for piece in pieces[start:]:
            piece.weight *= factor

    for match in _TOKEN.finditer(text):
        token, number = match[0], match[1]
        if token.startswith("\\") and len(token) == 2:
            pieces.append(Piece(token[1]))
        elif token == "(" and len(round_starts) < MAX_DEPTH:
            round_starts.append(len(pieces))
        elif token == "[" and len(square_starts) < MAX_DEPTH:
            square_starts.append(len(pieces))
        elif number is not None and round_starts:
            try:
                factor = float(number)
            except ValueError:
                factor = 1.0
            scale(round_starts.pop(), factor)
        elif token == ")" and round_starts:
            scale(round_starts.pop(), _UP)
        elif token == "]" and square_starts:
            scale(square_starts.pop(), _DOWN)
        else:
            for index, part in enumerate(re.split(r"\s*\bBREAK\b\s*", token)):
                if index:
                    pieces.append(Piece("", is_break=True))
                if part:
                    pieces.append(Piece(part))
    for start in round_starts:
        scale(start, _UP)
    for start in square_starts:
        scale(start, _DOWN)
    merged: list[Piece] = []
    for piece in pieces:
        if merged and not piece.is_break and not merged[-1].is_break and merged[-1].weight == piece.weight:
            merged[-1].text += piece.text
        else:
            merged.append(piece)
    return merged


@dataclass
class Windows:
    """Token ids in windows of 75, each with the weight of each token; not yet wrapped in start and end."""

    ids: list[list[int]]
    weights: list[list[float]]
    tokens: int = 0
    cut: bool = False


def split_windows(pieces: list[Piece], tokenizer: Any) -> Windows:
    """Tokenises weighted pieces and cuts them into windows, at a comma where one is near."""
    comma = tokenizer(",", add_special_tokens=False).input_ids[-1]
    result = Windows([[]], [[]])
    last_comma = -1

    def next_window(carry: int = 0) -> None:
        ids, weights = result.ids[-1], result.weights[-1]
        keep = len(ids) - carry
        result.ids.append(ids[keep:])
        result.weights.append(weights[keep:])
        del ids[keep:], weights[keep:]

    for piece in pieces:
        if piece.is_break:
            next_window()
            last_comma = -1
            continue
        for token in tokenizer(piece.text, add_special_tokens=False, truncation=False, verbose=False).input_ids:
            if result.tokens >= MAX_TOKENS:
                result.cut = True
                return result
            if len(result.ids[-1]) == WINDOW:
                carry = WINDOW - last_comma - 1 if last_comma >= 0 else WINDOW
                next_window(carry if token != comma and carry <= COMMA_REACH else 0)
                last_comma = -1
            if token == comma:
                last_comma = len(result.ids[-1])
            result.ids[-1].append(token)
            result.weights[-1].append(piece.weight)
            result.tokens += 1
    return result


def _embed(windows: Windows, number: int, tokenizer: Any, encoder: Any, layer: int, normed: bool) -> tuple[Any, Any]:
    """Embeddings (1, 77 × number, width) and the first window's pooled vector, from one text encoder."""
    import torch

    ids, weights = [], []
    for index in range(number):
        tokens = windows.ids[index] if index < len(windows.ids) else []
        strengths = windows.weights[index] if index < len(windows.weights) else []
        padding = WINDOW - len(tokens)
        # The end token closes the words, as A1111 does; what follows is padding.
        ids.append([tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding])
        weights.append([1.0, *strengths, *[1.0] * (padding + 1)])
    with torch.no_grad():
        output = encoder(torch.tensor(ids, device=encoder.device), output_hidden_states=True)
        hidden = output.hidden_states[-layer]
        if normed:
            hidden = getattr(encoder, "text_model", encoder).final_layer_norm(hidden)
        strength = torch.tensor(weights, device=hidden.device, dtype=hidden.dtype).unsqueeze(-1)
        if (strength != 1).any():
            mean = hidden.float().mean()
            hidden = hidden * strength
            hidden = hidden * (mean / hidden.float().mean()).to(hidden.dtype)
    pooled = output[0][:1] if hasattr(encoder, "text_projection") else None
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled


def encode_or_plain(model: Any, prompt: str, negative: str, clip_skip: int) -> tuple[dict[str, Any], list[str]]:
    """As `encode`; where that fails, the bare words, which the pipeline embeds itself: without weights, and cut at 77 tokens."""
    try:
        return encode(model, prompt, negative, clip_skip)
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        count("fettle_template_fallbacks_total", **{"from": "prompt", "to": "plain"})
        count("fettle_long_prompts_total", outcome="plain")
        log.exception("A prompt cannot be embedded in windows.")
        plain = ["".join(piece.text for piece in parse_attention(strip_extra_networks(text)[0])) for text in (prompt, negative)]
        note = f"The prompt could not be embedded with its weights ({type(error).__name__}); it was used plainly and cut at 77 tokens."
        return {"prompt": plain[0], "negative_prompt": plain[1]}, [note]


def encode(model: Any, prompt: str, negative: str, clip_skip: int) -> tuple[dict[str, Any], list[str]]:
    """The embedding arguments that diffusers pipelines take for this prompt pair, and warnings.

    `clip_skip` counts as A1111 does (1 = last layer) and, as there, moves SD 1.x only: SDXL always takes the last but one.
    """
    import torch

    warnings: list[str] = []
    parts = model.components
    encoders = [(parts["tokenizer"], parts["text_encoder"])]
    if model.kind == "sdxl":
        encoders.append((parts["tokenizer_2"], parts["text_encoder_2"]))
    pairs = []
    for text in (prompt, negative):
        plain, networks = strip_extra_networks(text)
        if networks:
            warnings.append(f"Extra networks are not supported here and were left out: {', '.join(sorted(set(networks)))}.")
        pairs.append([split_windows(parse_attention(plain), tokenizer) for tokenizer, _ in encoders])
    if any(windows.cut for pair in pairs for windows in pair):
        warnings.append(f"The prompt is longer than {MAX_TOKENS} tokens and was cut there.")
    number = max(len(windows.ids) for pair in pairs for windows in pair)
    if number > 1:
        count("fettle_long_prompts_total", outcome="chunked")
    results = []
    for pair in pairs:
        embeds, pooled = [], None
        for windows, (tokenizer, encoder) in zip(pair, encoders, strict=True):
            layers = encoder.config.num_hidden_layers
            layer = 2 if model.kind == "sdxl" else min(max(clip_skip, 1), layers)
            hidden, pooled = _embed(windows, number, tokenizer, encoder, layer, normed=model.kind == "sd15")
            embeds.append(hidden)
        results.append((torch.cat(embeds, dim=-1), pooled))
    (positive_embeds, positive_pooled), (negative_embeds, negative_pooled) = results
    arguments = {"prompt_embeds": positive_embeds, "negative_prompt_embeds": negative_embeds}
    if model.kind == "sdxl":
        if not negative.strip():  # SDXL was trained with zeros for "no prompt"
            arguments["negative_prompt_embeds"] = torch.zeros_like(negative_embeds)
            negative_pooled = torch.zeros_like(negative_pooled)
        arguments |= {"pooled_prompt_embeds": positive_pooled, "negative_pooled_prompt_embeds": negative_pooled}
    return arguments, warnings

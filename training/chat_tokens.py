"""The tokenizer and chat template that every model shares: bytes, and a few special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD: Final = "<|pad|>"
START: Final = "<|start|>"
END: Final = "<|end|>"
USER: Final = "<|user|>"
ASSISTANT: Final = "<|assistant|>"
SPECIALS: Final = (PAD, START, END, USER, ASSISTANT)
PAD_ID, START_ID, END_ID, USER_ID, ASSISTANT_ID = range(5)

NEVER_MERGED: Final = ("ÿ", "ÿ")
"""The one merge, of two bytes that no UTF-8 text holds: loaders want at least one merge."""

UNUSED: Final = ("<|unused-1|>", "<|unused-2|>")

CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}"
    "{{- '<|user|>' + (message['content'] | trim) -}}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' + (message['content'] | trim) + '<|end|>' -}}"
    "{%- elif message['role'] == 'system' -%}"
    "{%- set unheeded = message['content'] | trim -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""System messages are dropped: models this small were never taught to heed one.

The template still reads them, since llama.cpp puts a system message that a template never reads
in front of the first user message.
"""


def byte_letters() -> tuple[str, ...]:
    """Give the printable letter that stands for each byte in GPT-2's vocabulary, by byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters: list[str] = []
    stand_in = 0x100
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(stand_in))
            stand_in += 1
    return tuple(letters)


def vocabulary() -> tuple[str, ...]:
    """Give every token by its number: specials, the 256 bytes, and what only fills the table."""
    return (*SPECIALS, *byte_letters(), "".join(NEVER_MERGED), *UNUSED)


def chat_ids(prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Encode one turn as the template writes it: what is asked, and what is to be learned."""
    asked = [USER_ID, *_bytes(prompt), ASSISTANT_ID]
    return asked, [*_bytes(answer), END_ID]


def text_of(ids: Sequence[int]) -> str:
    """Decode byte tokens; specials and fillers are left out."""
    first = len(SPECIALS)
    return bytes(i - first for i in ids if first <= i < first + 256).decode("utf-8", "replace")


def make_tokenizer(context: int) -> PreTrainedTokenizerFast:
    """Build the Hugging Face tokenizer."""
    tokens = {token: number for number, token in enumerate(vocabulary())}
    inner = Tokenizer(models.BPE(vocab=tokens, merges=[NEVER_MERGED]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (*SPECIALS, *UNUSED)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _bytes(text: str) -> list[int]:
    return [byte + len(SPECIALS) for byte in text.encode()]

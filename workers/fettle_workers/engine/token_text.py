"""From token ids to text while they arrive: bytes first, so that half a character is never shown."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping

from transformers import PreTrainedTokenizerFast


class TokenBytes:
    """What each token contributes to the text, in bytes. Special tokens contribute nothing."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder"))
        self._is_byte_level = '"ByteLevel"' in self._decoder
        self._has_byte_tokens = '"ByteFallback"' in self._decoder
        self.strips_first_space = '"Strip"' in self._decoder or '"Metaspace"' in self._decoder
        self._added: Mapping[int, str] = {
            index: "" if token.special else token.content for index, token in tokenizer.added_tokens_decoder.items()
        }
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}

    def __getitem__(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = self._bytes(token)
        return self._known[token]

    def _bytes(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # the model's vocabulary may be padded beyond the tokenizer's
            return b""
        if self._is_byte_level:
            return _byte_level(piece)
        if self._has_byte_tokens and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()


def _byte_level(piece: str) -> bytes:
    if all(char in _BYTE_OF_CHAR for char in piece):
        return bytes(_BYTE_OF_CHAR[char] for char in piece)
    return piece.encode()


def _byte_of_char() -> dict[str, int]:
    """The alphabet in which byte-level vocabularies write bytes. Source: GPT-2's encoder."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHAR = _byte_of_char()


class TextStream:
    """Decodes one run of tokens; what it returns, joined, is the run's whole text."""

    def __init__(self, token_bytes: TokenBytes) -> None:
        self._bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._at_start = token_bytes.strips_first_space

    def push(self, token: int) -> str:
        """The characters that this token completes."""
        return self._without_first_space(self._decoder.decode(self._bytes[token]))

    def finish(self) -> str:
        """What is left of an unfinished character: U+FFFD, or nothing."""
        return self._decoder.decode(b"", final=True)

    def _without_first_space(self, text: str) -> str:
        if not (self._at_start and text):
            return text
        self._at_start = False
        return text.removeprefix(" ")

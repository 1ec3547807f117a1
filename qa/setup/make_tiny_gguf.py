#!/usr/bin/env python3
"""Writes a model file for a real llama.cpp server to load in tests: Llama's architecture, two layers, seeded random
weights, a byte-level vocabulary, about half a megabyte. What it says is noise, and at temperature 0 always the same.

    make_tiny_gguf.py OUT.gguf [SEED]

Only Python's own library: the format is a header, a list of named values, a list of tensors, and their numbers.
"""

import array
import random
import struct
import sys

EMBED, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 128, 512
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9  # kinds of values
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # kinds of tokens
ALIGNMENT = 32


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(kind, value):
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        item_kind, items = value
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(value_bytes(item_kind, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f"}[kind], value)


def padded(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def vocabulary():
    tokens = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    for character in " " + letters + letters.upper() + ".,!?0123456789":
        tokens.append((character.replace(" ", "\u2581"), -1.0, NORMAL))
    return tokens


def tensors(words):
    """Names with their shapes, the fastest dimension first; a single dimension is a norm and holds ones."""
    yield "token_embd.weight", (EMBED, words)
    yield "output_norm.weight", (EMBED,)
    yield "output.weight", (EMBED, words)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (EMBED,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", (EMBED, EMBED)
        yield f"blk.{layer}.ffn_gate.weight", (EMBED, FEED_FORWARD)
        yield f"blk.{layer}.ffn_up.weight", (EMBED, FEED_FORWARD)
        yield f"blk.{layer}.ffn_down.weight", (FEED_FORWARD, EMBED)


def main(out, seed):
    tokens = vocabulary()
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    values = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "tiny"),
        ("general.file_type", U32, 0),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, EMBED),
        ("llama.block_count", U32, LAYERS),
        ("llama.feed_forward_length", U32, FEED_FORWARD),
        ("llama.attention.head_count", U32, HEADS),
        ("llama.attention.head_count_kv", U32, HEADS),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, EMBED // HEADS),
        ("llama.vocab_size", U32, len(tokens)),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, [token for token, _, _ in tokens])),
        ("tokenizer.ggml.scores", ARRAY, (F32, [score for _, score, _ in tokens])),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [kind for _, _, kind in tokens])),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.chat_template", STRING, template),
    ]
    dice = random.Random(seed)
    infos, data = b"", b""
    shapes = list(tensors(len(tokens)))
    for name, shape in shapes:
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos += struct.pack("<IQ", 0, len(data))  # 0: 32-bit floats
        if len(shape) == 1:
            numbers = array.array("f", [1.0] * shape[0])
        else:
            numbers = array.array("f", (dice.gauss(0.0, 0.05) for _ in range(shape[0] * shape[1])))
        if sys.byteorder == "big":
            numbers.byteswap()
        data += padded(numbers.tobytes())
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(values))
    head += b"".join(text(name) + struct.pack("<I", kind) + value_bytes(kind, value) for name, kind, value in values)
    with open(out, "wb") as file:
        file.write(padded(head + infos) + data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)

"""What a request looks like to the model: the same features as policies/src/intent/features.rs, by name.

Everything works on bytes, so that both sides agree to the last one. A word is a run of letters (ASCII, or bytes of UTF-8
from 0x80 on, but for quotes, dashes and the like), lowered, cut after 24 bytes; a run of digits is the word "#".
"""

import pathlib

HEAD, TAIL = 700, 300  # bytes of the last text whose words are looked at
SYSTEM_HEAD, SYSTEM_TAIL = 400, 200  # of the first and the last system text
PRIOR_TEXTS, PRIOR_HEAD = 3, 160  # of the texts before the last
WINDOW = 1024  # bytes at either end of the last text whose shape is looked at
WORD_MAX = 24
STEM = 5

LENGTHS = (16, 40, 80, 160, 320, 640, 1280, 2560, 10240)
TOTALS = (128, 512, 2048, 8192, 32768, 131072)
TURNS = (1, 2, 4, 8)
SYSTEM_LENGTHS = (0, 100, 400, 1600)
LINES = (0, 1, 3, 8, 20)
SYMBOLS = (5, 15, 30, 60)  # per mille
DIGITS = (1, 10, 30, 80)  # per mille
FOREIGN = (0, 20, 300)  # per mille
QUESTIONS = (0, 1, 2, 4)
ITEMS = (0, 2, 5)
QUOTES = (0, 2, 6)
MATHS = (0, 1, 3, 8)
COLONS = (0, 1, 4)
NAMES = (0, 1, 3, 10)
INDENTS = (0, 2, 6)


def bucket(value, thresholds):
    """How many of the thresholds the value is above."""
    return sum(value > it for it in thresholds)


def words(text):
    """The words of a piece of text, in order."""
    found, word, number, at = [], bytearray(), False, 0
    while at < len(text):
        byte = text[at]
        letter = None
        if 0x41 <= byte <= 0x5A:
            letter = byte + 32
        elif 0x61 <= byte <= 0x7A:
            letter = byte
        elif byte == 0xC3 and at + 1 < len(text):
            # À–Þ lowered to à–þ.
            second = text[at + 1]
            word += bytes((byte, second + 32 if 0x80 <= second <= 0x9E else second))
            number = False
            at += 2
            continue
        elif byte == 0xC2:
            at += 1  # « » ¿ ¡ and the like part words
        elif byte == 0xE2 and at + 1 < len(text) and text[at + 1] == 0x80:
            at += 2  # quotes and dashes part words
        elif byte >= 0x80:
            letter = byte
        elif byte == 0x27:
            at += 1  # don't → dont
            continue
        if letter is not None:
            word.append(letter)
            number = False
        else:
            if word:
                found.append(bytes(word[:WORD_MAX]))
                word = bytearray()
            if 0x30 <= byte <= 0x39:
                if not number:
                    found.append(b"#")
                number = True
            else:
                number = False
        at += 1
    if word:
        found.append(bytes(word[:WORD_MAX]))
    return found


def stem(word):
    """The beginning of a long word, whole letters only; none of a short one."""
    if len(word) <= STEM:
        return None
    at = STEM
    while at > 0 and 0x80 <= word[at] < 0xC0:
        at -= 1
    return word[:at] + b"*"


def lexicon(path):
    """What each word, and each stem, hints at."""
    hints = {}
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        hint, listed = line.split(":")
        for word in listed.split():
            key = stem(word[:-1].encode()) if word.endswith("*") else word.encode()
            kept = hints.setdefault(key or word[:-1].encode() + b"*", [])
            if hint not in kept:
                kept.append(hint)
    return hints


HINTS = lexicon(pathlib.Path(__file__).parent / "lexicon.txt")


def word_features(space, text, pairs, start):
    """Words, their beginnings, what they hint at and (where told) their pairs; `start` says that the text begins here."""
    before = b"^" if start else None
    first = start
    for word in words(text):
        yield space + word
        short = stem(word)
        if short:
            yield space + short
        if pairs and before is not None:
            yield space + before + b"_" + word
        before = word
        hints = HINTS.get(word, []) + (HINTS.get(short, []) if short else [])
        for hint in hints:
            yield space + b"~" + hint.encode()
            if first:
                yield space + b"^~" + hint.encode()
        if hints:
            first = False


def ends(text, head, tail):
    """The beginning and the end of a text; the end is empty where the beginning is all."""
    if len(text) <= head + tail:
        return text, b""
    return text[:head], text[-tail:]


def is_upper(byte):
    return 0x41 <= byte <= 0x5A


def is_lower(byte):
    return 0x61 <= byte <= 0x7A


def is_digit(byte):
    return 0x30 <= byte <= 0x39


class Shape:
    """Counts over the ends of a text."""

    def __init__(self):
        self.bytes = self.lines = self.symbols = self.digits = self.foreign = self.questions = 0
        self.items = self.quotes = self.maths = self.colons = self.names = self.indents = self.bars = 0
        self.fence = self.at = self.url = False

    def read(self, text):
        """Counts one piece."""
        self.bytes += len(text)
        last, before_last = 0x0A, 0x0A
        fresh, blanks = True, 0  # at the start of a line, and how many blanks it began with
        for byte in text:
            if byte == 0x0A:
                self.lines += 1
                fresh, blanks = True, 0
            elif fresh and byte in (0x20, 0x09):
                blanks += 2 if byte == 0x09 else 1
            else:
                if fresh:
                    self.indents += blanks >= 2
                    self.items += byte in (0x2D, 0x2A)
                fresh = False
            self.symbols += byte in b"{}();=<>[]/\\_"
            self.digits += is_digit(byte)
            self.foreign += byte >= 0x80
            self.questions += byte == 0x3F
            self.quotes += byte == 0x22
            self.maths += byte in b"=+^*%"
            self.colons += byte == 0x3A
            self.bars += byte == 0x7C
            self.at |= byte == 0x40
            self.items += byte in (0x2E, 0x29) and is_digit(last) and before_last == 0x0A
            self.fence |= byte == 0x60 and last == 0x60 and before_last == 0x60
            self.url |= byte == 0x2F and last == 0x2F and before_last == 0x3A
            self.names += is_upper(byte) and is_lower(last)
            self.names += is_lower(byte) and last in (0x5F, 0x2E) and (is_lower(before_last) or is_digit(before_last))
            before_last, last = last, byte

    def features(self):
        """The counts as names."""
        whole = max(self.bytes, 1)
        yield f"lines={bucket(self.lines, LINES)}"
        yield f"symbols={bucket(self.symbols * 1000 // whole, SYMBOLS)}"
        yield f"digits={bucket(self.digits * 1000 // whole, DIGITS)}"
        yield f"foreign={bucket(self.foreign * 1000 // whole, FOREIGN)}"
        yield f"questions={bucket(self.questions, QUESTIONS)}"
        yield f"items={bucket(self.items, ITEMS)}"
        yield f"quotes={bucket(self.quotes, QUOTES)}"
        yield f"maths={bucket(self.maths, MATHS)}"
        yield f"colons={bucket(self.colons, COLONS)}"
        yield f"names={bucket(self.names, NAMES)}"
        yield f"indents={bucket(self.indents, INDENTS)}"
        if self.bars > 3:
            yield "table"
        if self.fence:
            yield "fence"
        if self.at:
            yield "at"
        if self.url:
            yield "url"


def features(row):
    """The set of a request's features, as names."""
    system = [it.encode() for it in row.get("system", [])]
    conversation = [it.encode() for it in row.get("conversation", [])]
    last = conversation[-1] if conversation else b""
    found = set()
    head, tail = ends(last, HEAD, TAIL)
    found.update(word_features(b"w:", head, True, True))
    found.update(word_features(b"w:", tail, True, False))
    for text in {0: system[:1], 1: system[:1]}.get(len(system), [system[0], system[-1]] if system else []):
        head, tail = ends(text, SYSTEM_HEAD, SYSTEM_TAIL)
        found.update(word_features(b"s:", head, True, True))
        found.update(word_features(b"s:", tail, True, False))
    for text in conversation[:-1][-PRIOR_TEXTS:]:
        found.update(word_features(b"p:", text[:PRIOR_HEAD], False, True))
    shape = Shape()
    for piece in ends(last, WINDOW, WINDOW):
        shape.read(piece)
    names = list(shape.features())
    names.append(f"length={bucket(len(last), LENGTHS)}")
    names.append(f"total={bucket(sum(map(len, system)) + sum(map(len, conversation)), TOTALS)}")
    names.append(f"turns={bucket(len(conversation), TURNS)}")
    names.append(f"system={bucket(sum(map(len, system)), SYSTEM_LENGTHS)}")
    if last.rstrip(b" \n\t").endswith(b"?"):
        names.append("asks")
    if row.get("json"):
        names.append("json")
    if row.get("tools"):
        names.append("tools")
    if row.get("images"):
        names.append("images")
    found.update(b"shape:" + it.encode() for it in names)
    return {it.decode("utf-8", "replace") for it in found}

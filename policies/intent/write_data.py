"""Writes train_1.jsonl, train_2.jsonl and heldout.jsonl from the templates beside it. Needs nothing but Python 3.9; always the same output.

    python3 policies/intent/write_data.py

Templates are written by hand, those of the held-out set apart from those of training: other phrasing, other topics, other
fillers. One template a line under a header `# intent tier`:

    {name}      one of the fillers of that name        <<a|b>>     one of the two
    S: U: A:    system, user, assistant, parted by ||  !tools !images !json   what is sent along
    !pad=N      {pad} stands for N bytes of text that nobody looks at
"""

import json
import pathlib
import random
import re

HERE = pathlib.Path(__file__).parent
SEED = 20_260_601
BEFORE = {
    "train": ["Please ", "Could you help me? ", "hi, ", "Hello! ", "I have a question. ", "Quick one: ", "Bitte: "],
    "heldout": ["hey so ", "ok. ", "Excuse me, ", "one more thing - ", "Need this today: "],
}
AFTER = {
    "train": [" Thanks!", " thank you", " please", " Be brief.", "\n\nThanks in advance", " Merci !", " Danke!"],
    "heldout": [" thx", " Cheers.", " asap", "\n\n-- sent from my phone", " appreciate it"],
}
COPIES = {"train": 10, "heldout": 4}
# In pieces that stay below the size of a file in this repository; read in this order.
FILES = {"train": ["train_1.jsonl", "train_2.jsonl"], "heldout": ["heldout.jsonl"]}


def fillers(path):
    """The fillers of a file by name."""
    found, name = {}, None
    for line in path.read_text().splitlines():
        if line.startswith("# "):
            name = line[2:].strip()
        elif line:
            found.setdefault(name, []).append(line.replace("\\n", "\n").replace("\\t", "\t"))
    return found


def templates(path):
    """The templates of a file as (intent, tier, number of the line, text)."""
    intent, tier = "", 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("# "):
            intent, tier = line[2:].split()
        elif line:
            yield intent, int(tier), number, line


def passages(choices, kind):
    """Training passages also in pieces, so that what they are about tells nothing: every sentence by its language."""
    if kind == "train":
        for name in [it for it in choices if it.startswith("passage")]:
            whole = choices[name]
            choices[name + " sentences"] = [it for text in whole for it in re.split(r"(?<=[a-z)]\.) (?=[A-ZÉÀ])", text)]
    return choices


def one_of(name, choices, chance):
    """A filler; of passages three out of four times some sentences of several."""
    sentences = choices.get(name + " sentences")
    if sentences and chance.random() < 0.75:
        return " ".join(chance.sample(sentences, min(len(sentences), chance.randint(2, 6))))
    return chance.choice(choices[name])


def filled(text, choices, chance):
    """A template with everything chosen."""
    text = re.sub(r"<<([^<>]*)>>", lambda it: chance.choice(it[1].split("|")), text)
    return re.sub(r"\{([a-z_]+)\}", lambda it: one_of(it[1], choices, chance) if it[1] in choices else it[0], text)


def mistyped(text, chance):
    """A text with one letter in some 25 doubled, lost or swapped."""
    letters = list(text)
    for at in range(len(letters) - 1):
        if letters[at].isalpha() and letters[at + 1].isalpha() and chance.random() < 0.04:
            how = chance.randrange(3)
            if how == 0:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            elif how == 1:
                letters[at] = ""
            else:
                letters[at] *= 2
    return "".join(letters)


def noisy(text, kind, chance):
    """What people do to their prompts: courtesy around it, no capitals, no full stop, slips."""
    if chance.random() < 0.15:
        text = chance.choice(BEFORE[kind]) + text
    if chance.random() < 0.15:
        text += chance.choice(AFTER[kind])
    if chance.random() < 0.15:
        text = text.lower()
    if chance.random() < 0.1:
        text = text.rstrip(".?!")
    if chance.random() < 0.1 and len(text) < 400:
        text = mistyped(text, chance)
    return text


def row(kind, intent, tier, number, template, choices, chance):
    """One prompt of a template."""
    made = {"intent": intent, "tier": tier, "template": number}
    while template.startswith("!"):
        flag, template = template.split(" ", 1)
        name, _, value = flag[1:].partition("=")
        made[name] = int(value) if value else True
    parts = [it.strip(" ") for it in template.replace("\\n", "\n").split(" || ")]
    system, conversation = [], []
    for part in parts:
        text = filled(part, choices, chance)
        if part.startswith("S: "):
            system.append(text[3:])
        else:
            conversation.append(text[3:] if part[:3] in ("U: ", "A: ") else text)
    conversation[-1] = noisy(conversation[-1], kind, chance)
    if system:
        made["system"] = system
    made["conversation"] = conversation
    return made


def write(kind):
    """Writes one of the two sets."""
    chance = random.Random(SEED + len(kind))
    choices = passages(fillers(HERE / f"templates/{kind}_fillers.txt"), kind)
    rows, seen = [], set()
    for intent, tier, number, template in templates(HERE / f"templates/{kind}.txt"):
        for _ in range(COPIES[kind]):
            made = row(kind, intent, tier, number, template, choices, chance)
            text = json.dumps(made, ensure_ascii=False, sort_keys=True)
            if text not in seen:
                seen.add(text)
                rows.append(text)
    each = -(-len(rows) // len(FILES[kind]))
    for at, file in enumerate(FILES[kind]):
        (HERE / file).write_text("\n".join(rows[at * each : (at + 1) * each]) + "\n")
    print(f"{kind}: {len(rows)} prompts")


if __name__ == "__main__":
    write("train")
    write("heldout")

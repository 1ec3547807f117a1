"""Trains the linear model and writes weights.txt and golden.jsonl beside it.

    python3 -m pip install 'numpy>=1.24' 'scikit-learn>=1.4'
    python3 policies/intent/train.py [--cv] [FILE.jsonl …]

Reads train_1.jsonl and train_2.jsonl, or the files given (the same shape: one's own prompts, labelled). Deterministic: the same rows give the
same weights. --cv first tells how it does on templates that it has not seen, by five folds of the training set; the
held-out set is not read here, only by the tests in Rust.
"""

import collections
import json
import pathlib
import sys

try:
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
except ImportError as missing:
    sys.exit(f"{missing}: python3 -m pip install 'numpy>=1.24' 'scikit-learn>=1.4'")

from features import features
from write_data import FILES

HERE = pathlib.Path(__file__).parent
# What the words decide; vision and long_context are told by the request itself (see tier.rs and mod.rs).
INTENTS = ["code", "extraction", "summarise", "translate", "classify", "reasoning", "chat", "writing", "tool_use"]
TIERS = [1, 2, 3, 4]
STRENGTH = 0.03  # of the inverse of L2
EMPHASIS = 3.0  # of hints and shapes against single words: they carry over to what nobody wrote down
TEMPLATES, ROWS = 2, 3  # a feature counts that occurs in so many templates and prompts
SCALE = 32
PAD = "and so it goes on, "
GOLDEN_EVERY = 97


def padded(row):
    """A row with {pad} written out."""
    if "pad" not in row:
        return row
    pad = (PAD * (row["pad"] // len(PAD) + 1))[: row["pad"]]
    return dict(row, conversation=[it.replace("{pad}", pad) for it in row["conversation"]])


def vocabulary(found, groups):
    """The features worth a weight, sorted, each with its column."""
    templates, rows = collections.defaultdict(set), collections.Counter()
    for names, group in zip(found, groups):
        for name in names:
            templates[name].add(group)
            rows[name] += 1
    kept = [it for it in rows if len(templates[it]) >= TEMPLATES and rows[it] >= ROWS and "\ufffd" not in it]
    return {name: at for at, name in enumerate(sorted(kept))}


def emphasis(columns):
    """How much more a column counts than a single word."""
    return np.array([EMPHASIS if "~" in name or name.startswith("shape:") else 1.0 for name in columns])


def matrix(found, columns):
    """A row for each prompt, nonzero where a feature is."""
    at, starts = [], [0]
    for names in found:
        at.extend(sorted(columns[it] for it in names if it in columns))
        starts.append(len(at))
    return (
        csr_matrix((np.ones(len(at)), at, starts), shape=(len(found), len(columns))).multiply(emphasis(columns)).tocsr()
    )


def fit(table, labels):
    """A multinomial logistic regression."""
    return LogisticRegression(C=STRENGTH, max_iter=3000, tol=1e-5).fit(table, labels)


def likely(scores, temperature):
    """Softmax."""
    scores = scores / temperature
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def temperature_of(scores, labels):
    """The temperature at which the unseen labels were the least surprising."""

    def surprise(it):
        return -np.log(likely(scores, it)[np.arange(len(labels)), labels] + 1e-12).mean()

    return min((it / 20 for it in range(10, 61)), key=surprise)


def folds(rows, found, groups):
    """Scores of every row by a model that has not seen its template."""
    intents, tiers = np.full((len(rows), len(INTENTS)), -99.0), np.zeros((len(rows), len(TIERS)))
    for seen, unseen in GroupKFold(5, shuffle=True, random_state=1).split(rows, groups=groups):
        columns = vocabulary([found[it] for it in seen], [groups[it] for it in seen])
        learnt = [it for it in seen if rows[it]["intent"] in INTENTS]
        asked = matrix([found[it] for it in unseen], columns)
        by_intent = fit(
            matrix([found[it] for it in learnt], columns), [INTENTS.index(rows[it]["intent"]) for it in learnt]
        )
        intents[unseen] = by_intent.decision_function(asked)
        by_tier = fit(matrix([found[it] for it in seen], columns), [rows[it]["tier"] for it in seen])
        tiers[unseen] = by_tier.decision_function(asked)
    intents[[not row.get("tools") for row in rows], INTENTS.index("tool_use")] = -99.0
    return intents, tiers


def tell(rows, intents, tiers, temperatures):
    """Prints how it does on templates not seen."""
    known = [it for it, row in enumerate(rows) if row["intent"] in INTENTS]
    right = np.mean([INTENTS[intents[it].argmax()] == rows[it]["intent"] for it in known])
    print(f"unseen templates: intent {right:.3f}")
    true = np.array([row["tier"] for row in rows])
    for level in (0.5, 0.55, 0.6, 0.65, 0.7):
        guess = 1 + (likely(tiers, temperatures[1]).cumsum(axis=1) < level - 1e-9).sum(axis=1).clip(max=3)
        print(
            f"  tier at {level}: exact {np.mean(guess == true):.3f} within one {np.mean(abs(guess - true) <= 1):.3f}"
            f" too low {np.mean(guess < true):.3f} hard taken for trivial {np.mean(guess[true > 2] == 1):.3f}"
        )


def main(arguments):
    """Trains, writes."""
    files = [it for it in arguments if not it.startswith("--")] or [HERE / file for file in FILES["train"]]
    rows = [json.loads(line) for file in files for line in pathlib.Path(file).read_text().splitlines()]
    found = [features(padded(row)) for row in rows]
    # A prompt of one's own that comes from no template is a group of its own.
    groups = [row.get("template", f"row {at}") for at, row in enumerate(rows)]
    groups = [str(it) for it in groups]
    known = [it for it, row in enumerate(rows) if row["intent"] in INTENTS]
    labels = [INTENTS.index(rows[it]["intent"]) for it in known]

    intents, tiers = folds(rows, found, groups)
    temperatures = (
        temperature_of(intents[known], labels),
        temperature_of(tiers, [TIERS.index(row["tier"]) for row in rows]),
    )
    if "--cv" in arguments:
        tell(rows, intents, tiers, temperatures)

    columns = vocabulary(found, groups)
    by_intent = fit(matrix([found[it] for it in known], columns), labels)
    by_tier = fit(matrix(found, columns), [row["tier"] for row in rows])

    def whole(values):
        return np.clip(np.rint(values * SCALE), -127, 127).astype(int)

    louder = emphasis(columns)[:, None]
    weights = np.hstack([whole(by_intent.coef_.T * louder), whole(by_tier.coef_.T * louder)])
    bias = np.concatenate([whole(by_intent.intercept_), whole(by_tier.intercept_)])
    lines = [
        "# Written by train.py. A feature, then its weight for each intent and each tier, in 1/scale.",
        "outputs " + " ".join(INTENTS) + " " + " ".join(f"tier{it}" for it in TIERS),
        f"scale {SCALE}",
        "temperature " + " ".join(f"{it:.2f}" for it in temperatures),
        "bias " + " ".join(map(str, bias)),
    ]
    kept = {}
    for name, at in columns.items():
        if abs(weights[at]).max() > 0:
            kept[name] = weights[at]
            lines.append(name + " " + " ".join(map(str, weights[at])))
    (HERE / "weights.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(rows)} prompts, {len(kept)} features, temperatures {temperatures}")

    with open(HERE / "golden.jsonl", "w") as golden:
        for row, names in list(zip(rows, found))[::GOLDEN_EVERY]:
            names = sorted(it for it in names if it in kept)
            scores = bias + sum(kept[it] for it in names)
            row = dict(row, features=names, scores=scores.tolist())
            golden.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Class names of many tools to the two that count here."""

from __future__ import annotations

_WORDS = {
    "mitosis": (
        "mitosis",
        "mitoses",
        "mitose",
        "mitotic",
        "mitotic cell",
        "mitotic cells",
        "mitotic figure",
        "mitotic figures",
        "mf",
    ),
    "imposter": (
        "imposter",
        "imposters",
        "impostor",
        "hard negative",
        "hard negatives",
        "hard negative look alike",
        "hard negative imposter",
        "look alike",
        "mitotic figure look alike",
        "mitosis like",
        "mitotic like",
        "non mitosis",
        "non mitotic",
        "non mitotic figure",
        "non mitotic cell",
        "not mitosis",
        "not mitotic",
        "not mitotic figure",
        "nonmitosis",
        "nonmitotic",
    ),
}
_CANONICAL = {word: label for label, words in _WORDS.items() for word in words}


def canonical_label(name: str) -> str:
    """`mitosis` or `imposter` for the words in use, else ``name`` as it is (dropped as `label`).

    >>> canonical_label("Hard-Negative"), canonical_label("Mitotic figure"), canonical_label("fat")
    ('imposter', 'mitosis', 'fat')
    """
    word = " ".join(name.lower().replace("-", " ").replace("_", " ").split())
    return _CANONICAL.get(word, name)

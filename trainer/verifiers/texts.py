"""Any text, made one that the next in line takes."""


def encodable(text: str) -> str:
    """The text with "?" for its lone surrogates, which no encoding and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def storable(text: str) -> str:
    """The text as a database takes it: without NUL too."""
    return encodable(text).replace("\0", "\ufffd")

"""Models in a local folder: nothing is fetched, no code of theirs is run, no pickle is read.

torch and transformers are imported when a model is loaded.
"""

import hashlib
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.verifiers import parameters
from trainer.verifiers.base import ParameterError
from trainer.verifiers.texts import encodable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "bfloat16", "float16", "float32")
# What decides a verdict, of all that a model's folder may hold.
_DECIDING = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.txt")


class UnusableModelError(ValueError):
    """The folder's model cannot be loaded; the text says why, in one line."""


def digest_of(folder: Any) -> str:
    """SHA-256 over the files that decide what the folder's model says.

    Raises ParameterError, naming "model", where the folder holds no safetensors.
    """
    parameters.text("model", folder)
    try:
        found = {file for kind in _DECIDING for file in Path(folder).glob(kind)}
        files = sorted(file for file in found if file.is_file())
        stamps = [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    except (OSError, ValueError) as error:
        raise ParameterError(f"model: the folder cannot be read ({type(error).__name__})") from None
    if not any(file.suffix == ".safetensors" for file in files):
        raise ParameterError("model: must be a local folder with a model in *.safetensors")
    digest = hashlib.sha256()
    for stamp in stamps:
        digest.update(_file_digest(*stamp))
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _file_digest(file: Path, modified_ns: int, size: int) -> bytes:
    """Of the name and the content; read again only after a change."""
    with file.open("rb") as content:
        return file.name.encode() + b"\0" + hashlib.file_digest(content, "sha256").digest()


class LocalModel:
    """A loaded model with its tokenizer. One thread at a time uses it."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.lock = threading.Lock()
        longest_token = max(map(len, tokenizer.get_vocab()))
        self._most_characters = self.context * longest_token

    @property
    def context(self) -> int:
        """The most tokens that model and tokenizer take."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return min(positions or 10**9, int(self.tokenizer.model_max_length))

    def is_surely_too_long(self, *texts: str) -> bool:
        """Whether the texts have more characters than the context's tokens can hold: it need not
        cut a megabyte into tokens to know that."""
        return sum(map(len, texts)) > self._most_characters

    def tokens(self, text: str) -> list[int]:
        """The text's tokens; in it a special token's name is text like any other."""
        encoded: Any = self.tokenizer(
            encodable(text), add_special_tokens=False, split_special_tokens=True
        )
        return list(encoded["input_ids"])


_loading = threading.Lock()


def loaded(kind: str, folder: str, dtype: str, digest: str) -> LocalModel:
    """The folder's model as this transformers class ("AutoModelForCausalLM"), on the GPU if any.

    The last two are kept: a rubric asks the same judge for each criterion. Raises
    UnusableModelError, also where the class needs weights that the folder does not have: they
    would be random.
    """
    with _loading:
        if digest_of(folder) != digest:
            raise UnusableModelError("model: the folder has changed since the verifier was built")
        return _loaded(kind, folder, dtype, digest)


@lru_cache(maxsize=2)
def _loaded(kind: str, folder: str, dtype: str, digest: str) -> LocalModel:
    import torch
    import transformers

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
        model, notes = getattr(transformers, kind).from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
        )
    # What a broken folder raises is in no list: the tokenizers' own error is a bare Exception.
    except Exception as error:
        raise UnusableModelError(f"model: does not load ({type(error).__name__})") from None
    if notes["missing_keys"]:
        missing = ", ".join(sorted(notes["missing_keys"])[:3])
        raise UnusableModelError(f"model: the folder has no weights for {missing}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LocalModel(model.to(device).eval(), tokenizer)

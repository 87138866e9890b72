"""The shape of a Patch-TRM (Lu et al. 2021, arXiv 2110.13214, section 5 and the released code)."""

from typing import Any, ClassVar, get_args

from transformers import AutoConfig, BertConfig, PreTrainedConfig, ResNetConfig

from fedloom.core.contracts import Form

KIND = "patch-trm"


class PatchTrmConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of a Patch-TRM; the defaults are the paper's.

    ``vision_config``: the residual network that looks at every patch; ``text_config``: the BERT that reads the
    question. ``grids``: the picture is cut into 1 x 1, 2 x 2 ... patches (79 in all), each of which ``patch_size``
    pixels a side are made. ``width``, ``layers``, ``heads``, ``feed_forward``, ``dropout``: of the transformer over
    patches. ``hidden``: of everything after it, with ``attention_dropout`` before the attention over patches and
    ``classifier_dropout`` in the three heads. ``choices``: the most that a question has; ``choice_words``: the most
    words of one, in embeddings of ``choice_width``. ``dictionary``: the words of choices (none: the pieces of the
    question's tokenizer). ``answers``: what a blank can be filled with. ``forms``: the
    sub-tasks that there are heads for. ``pictures``, ``texts``: where the weights of
    the residual network and of the BERT are from, a shipped model's name or a folder (none: drawn from the seed), where
    the folder has none of its own; ``tokenizer``: the same of the question's.
    """

    model_type = KIND
    sub_configs: ClassVar[dict[str, Any]] = {"vision_config": ResNetConfig, "text_config": BertConfig}

    vision_config: Any = None
    text_config: Any = None
    grids: list[int] | tuple[int, ...] = (1, 2, 3, 4, 7)
    patch_size: int = 224
    width: int = 768
    layers: int = 1
    heads: int = 4
    feed_forward: int = 2048
    dropout: float = 0.1
    hidden: int = 1024
    attention_dropout: float = 0.2
    classifier_dropout: float = 0.5
    choices: int = 5
    choice_words: int = 8
    choice_width: int = 300
    dictionary: list[str] | tuple[str, ...] = ()
    answers: list[str] | tuple[str, ...] = ()
    forms: list[str] | tuple[str, ...] = get_args(Form)
    pictures: str = ""
    texts: str = ""
    tokenizer: str = ""

    def __post_init__(self, **kwargs: Any) -> None:
        """Make the two parts' configurations of what a file has of them; the paper's where it has none."""
        for name, kind, paper in (
            ("vision_config", ResNetConfig, {"depths": [3, 4, 23, 3]}),
            (
                "text_config",
                BertConfig,
                {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8} | {"intermediate_size": 2048},
            ),
        ):
            given = getattr(self, name)
            if not isinstance(given, PreTrainedConfig):
                setattr(self, name, kind(**(paper if given is None else given)))
        super().__post_init__(**kwargs)

    @property
    def patches(self) -> int:
        """How many patches a picture is cut into."""
        return sum(side * side for side in self.grids)


AutoConfig.register(KIND, PatchTrmConfig, exist_ok=True)

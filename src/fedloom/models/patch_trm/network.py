"""Patch-TRM (Lu et al. 2021, arXiv 2110.13214, section 5, and its released code): patches, a question, three heads.

    x_0 = [CLS; W f_1 ... W f_79] + positions            f: what the residual network makes of a patch
    x_1 = x_0 + attention(LN x_0), x = x_1 + FFN(LN x_1)
    q = FC(BERT(question) at its first token)
    v = sum_i softmax_i(w . drop(FC(x_i) * FC(q))) x_i
    j = FC(q) * FC(v)

    fill_in_blank   logits = classifier(j)
    choose_txt      logits = classifier(FC([j; FC([c_1; ... c_5])]) * j)   c: a GRU's last state over a choice's words
    choose_img      the same with c what the residual network makes of a choice's picture

FC is a linear layer whose matrix has a norm of its own, one number, and a ReLU.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, BertModel, PreTrainedModel, ResNetModel

from fedloom.core.contracts import Form
from fedloom.models.patch_trm.configuration import PatchTrmConfig


class NormedLinear(nn.Module):
    """``y = s (W / |W|) x + b``: a linear layer whose matrix has the Frobenius norm ``s`` (weight normalisation over
    the whole matrix: Salimans and Kingma 2016, arXiv 1602.07868, equation 2). It begins as the linear layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        drawn = nn.Linear(inputs, outputs)
        self.weight, self.bias = nn.Parameter(drawn.weight.detach()), nn.Parameter(drawn.bias.detach())
        self.norm = nn.Parameter(drawn.weight.detach().norm())

    def forward(self, x: Tensor) -> Tensor:
        """``[..., inputs]`` to ``[..., outputs]``."""
        return F.linear(x, self.weight * (self.norm / self.weight.norm()), self.bias)


def fully(inputs: int, outputs: int) -> nn.Sequential:
    """FC."""
    return nn.Sequential(NormedLinear(inputs, outputs), nn.ReLU())


def classifier(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """The end of each head."""
    return nn.Sequential(
        NormedLinear(inputs, 2 * inputs), nn.ReLU(), nn.Dropout(dropout), NormedLinear(2 * inputs, outputs)
    )


class Layer(nn.Module):
    """A pre-norm transformer layer over patches, without biases of queries, keys and values."""

    def __init__(self, config: PatchTrmConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.drop = nn.Dropout(config.dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.feed_forward),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feed_forward, width),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[B, P, width]`` to the same."""
        rows, places, width = x.shape
        parts = self.qkv(self.before(x)).reshape(rows, places, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, places, width)
        x = x + self.drop(self.out_proj(seen))
        return x + self.feed_forward(self.between(x))  # type: ignore[no-any-return]


class Pyramid(nn.Module):
    """The transformer over the patches of a picture and a token of its own."""

    def __init__(self, config: PatchTrmConfig) -> None:
        super().__init__()
        self.patches = nn.Linear(config.vision_config.hidden_sizes[-1], config.width)
        self.token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = nn.Parameter(torch.empty(1, config.patches + 1, config.width).normal_())
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, P, D]`` of P patches to ``[B, P + 1, width]``."""
        x: Tensor = torch.cat((self.token.expand(len(features), -1, -1), self.patches(features)), dim=1)
        x = self.drop(x + self.positions)
        for layer in self.layers:
            x = layer(x)
        return x


class Attention(nn.Module):
    """Which of a picture's places a question looks at."""

    def __init__(self, config: PatchTrmConfig) -> None:
        super().__init__()
        self.picture, self.question = fully(config.width, config.hidden), fully(config.hidden, config.hidden)
        self.drop, self.weigh = nn.Dropout(config.attention_dropout), NormedLinear(config.hidden, 1)

    def forward(self, x: Tensor, question: Tensor) -> Tensor:
        """``[B, P, width]`` and ``[B, hidden]`` to weights ``[B, P, 1]`` that sum to 1."""
        return self.weigh(self.drop(self.picture(x) * self.question(question)[:, None])).softmax(dim=1)  # type: ignore[no-any-return]


class Choosing(nn.Module):
    """The head of a question with choices, whose vectors have ``inputs`` entries each."""

    def __init__(self, config: PatchTrmConfig, inputs: int) -> None:
        super().__init__()
        hidden, most = config.hidden, config.choices
        self.choices, self.both = fully(inputs * most, hidden * most), fully(hidden * (most + 1), hidden)
        self.classifier = classifier(hidden, most, config.classifier_dropout)

    def forward(self, joint: Tensor, choices: Tensor) -> Tensor:
        """``[B, hidden]`` and ``[B, C, inputs]`` to logits ``[B, C]``."""
        read = self.choices(choices.flatten(1))
        return self.classifier(self.both(torch.cat((joint, read), dim=1)) * joint)  # type: ignore[no-any-return]


class Words(nn.Module):
    """A choice's words to a vector: embeddings and a GRU, whose last state it is."""

    def __init__(self, config: PatchTrmConfig, words: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(words + 1, config.choice_width, padding_idx=words)
        self.gru = nn.GRU(config.choice_width, config.hidden, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids ``[B, C, T]``, padded before their words, to ``[B, C, hidden]``."""
        states, _ = self.gru(self.embeddings(ids.flatten(0, 1)))
        return states[:, -1].unflatten(0, ids.shape[:2])  # type: ignore[no-any-return]


class Connector(nn.Module):
    """All of Patch-TRM but the two networks that read pictures and questions: of the heads those that it has."""

    def __init__(self, config: PatchTrmConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.pyramid, self.attention = Pyramid(config), Attention(config)
        self.reading = fully(config.text_config.hidden_size, hidden)
        self.question, self.picture = fully(hidden, hidden), fully(config.width, hidden)
        if "choose_txt" in config.forms:
            self.words = Words(config, len(config.dictionary) or config.text_config.vocab_size)
            self.choose_txt = Choosing(config, hidden)
        if "choose_img" in config.forms:
            self.choose_img = Choosing(config, config.vision_config.hidden_sizes[-1])
        if "fill_in_blank" in config.forms and config.answers:
            self.fill_in_blank = classifier(hidden, len(config.answers), config.classifier_dropout)

    def joint(self, features: Tensor, question: Tensor) -> Tensor:
        """What picture and question are together: features ``[B, P, D]`` and ``[B, Q]`` to ``[B, hidden]``."""
        read = self.reading(question)
        x = self.pyramid(features)
        seen = (self.attention(x, read) * x).sum(dim=1)
        return self.question(read) * self.picture(seen)  # type: ignore[no-any-return]


class PatchTrm(PreTrainedModel):  # type: ignore[misc]
    """Patch-TRM: a picture, a question and what may answer it, to logits."""

    config_class = PatchTrmConfig
    base_model_prefix = ""
    main_input_name = "features"

    def __init__(self, config: PatchTrmConfig) -> None:
        super().__init__(config)
        self.vision_model = ResNetModel(config.vision_config)
        self.text_model = BertModel(config.text_config, add_pooling_layer=False)
        self.connector = Connector(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights stay as each layer draws them; the two networks have rules of their own."""

    def features(self, patches: Tensor) -> Tensor:
        """What the residual network makes of patches ``[..., 3, S, S]``: ``[..., D]``."""
        made = self.vision_model(patches.flatten(0, -4)).pooler_output
        return made.flatten(1).unflatten(0, patches.shape[:-3])  # type: ignore[no-any-return]

    def forward(
        self, features: Tensor, question: Tensor, mask: Tensor, head: Form, choices: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Logits.

        Args:
            features: ``[B, P, D]``, of a picture's patches.
            question: token ids ``[B, T]``.
            mask: ``[B, T]``, which of them are there.
            head: the sub-task.
            choices: of ``choose_txt`` the ids of their words ``[B, C, W]``; of ``choose_img`` features ``[B, C, D]``.

        Returns:
            ``[B, C]``, or ``[B, answers]``.
        """
        read = self.text_model(input_ids=question, attention_mask=mask).last_hidden_state[:, 0]
        joint = self.connector.joint(features, read)
        if head == "fill_in_blank":
            return self.connector.fill_in_blank(joint)  # type: ignore[no-any-return]
        if head == "choose_txt":
            choices = self.connector.words(choices)
        return getattr(self.connector, head)(joint, choices)  # type: ignore[no-any-return]


AutoModel.register(PatchTrmConfig, PatchTrm, exist_ok=True)

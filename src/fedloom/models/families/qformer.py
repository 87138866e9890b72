"""BLIP-2 and InstructBLIP: a Q-Former asks a picture a fixed number of queries; InstructBLIP's hears the prompt too."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fedloom.core.contracts import Tree
from fedloom.core.errors import FedloomError
from fedloom.models.families.family import Family, stacked
from fedloom.models.language.tokens import Tokens


class Blip2(Family):
    """A Q-Former that is asked nothing. All pictures' tokens stand before the prompt, and before its beginning mark."""

    front = True

    def shown(self, grid: Sequence[int]) -> str:
        """An image token a query."""
        return self.image_token * int(self.model.config.num_query_tokens)

    def see(self, pixels: Tree) -> Tree:
        """What the vision tower hands to the Q-Former, ``[N, T, k]``."""
        return {"states": self.model.vision_model(pixel_values=pixels["pixel_values"]).last_hidden_state}

    def connect(self, states: Tree) -> Tree:
        """Rows ``[N, queries, d]``."""
        seen = states["states"]
        queries = self.model.query_tokens.expand(len(seen), -1, -1)
        everything = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        made = self.model.qformer(
            query_embeds=queries,
            encoder_hidden_states=seen,
            encoder_attention_mask=everything,
            **self._asked(states, queries),
        ).last_hidden_state
        return {"seen": self.model.language_projection(made[:, : queries.shape[1]].to(seen.dtype))}

    def _asked(self, states: Tree, queries: Tensor) -> Tree:
        return {}


class InstructBlip(Blip2):
    """A Q-Former that reads the prompt beside its queries, so that what it makes of a picture depends on both."""

    reads_prompt = True

    @cached_property
    def _tokens(self) -> Tokens:
        return Tokens(self.processor.qformer_tokenizer)

    def question(self, prompt: str, whose: str) -> Tensor:
        """Ids of the prompt in the Q-Former's own words, ``[q]``.

        Raises:
            FedloomError: more than the Q-Former has positions for.
        """
        ids = [*self._tokens.before, *self._tokens.ids([prompt], whose), *self._tokens.after]
        longest = int(self.model.config.qformer_config.max_position_embeddings)
        if len(ids) > longest:
            raise FedloomError(
                f"{whose}: the prompt has {len(ids)} tokens in the words of the model's Q-Former, which reads "
                f"{longest}. Shorten the text."
            )
        return torch.tensor(ids, dtype=torch.long)

    def join(self, trees: Sequence[Tree]) -> Tree:
        """The trees of several pictures as one, questions padded on the right with 0 as ``heard`` tells."""
        if "question" not in trees[0]:
            return stacked(trees)
        questions = [tree["question"] for tree in trees]
        rest = [{name: value for name, value in tree.items() if name != "question"} for tree in trees]
        heard = pad_sequence([torch.ones_like(own) for own in questions], batch_first=True)
        return {**stacked(rest), "question": pad_sequence(questions, batch_first=True), "heard": heard}

    def _asked(self, states: Tree, queries: Tensor) -> Tree:
        own = torch.ones(queries.shape[:2], dtype=torch.long, device=queries.device)
        return {
            "input_ids": states["question"],
            "attention_mask": torch.cat([own, states["heard"].to(own.device)], dim=1),
        }

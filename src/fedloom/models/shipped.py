"""The models that ship, and what ``model.name`` can be besides."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "nano"
NANO = {name: _FOLDER / name for name in ("nano-clip", "nano-vlm", "nano-qformer", "nano-resnet", "patch-trm")}
"""The models that ship, and the folders that hold them; ``patch-trm`` is a configuration without weights."""


def listing() -> list[tuple[str, str]]:
    """What ``model.name`` can be, with one line about each."""
    return [
        ("nano-clip", "A small CLIP that ships with fedloom: matches an icon with captions."),
        ("nano-vlm", "A small LLaVA that ships with fedloom: answers questions about icons."),
        ("nano-qformer", "A small InstructBLIP on a T5 that ships with fedloom: answers questions about icons."),
        ("nano-resnet", "A small residual network that ships with fedloom: names icons."),
        ("patch-trm", "A small Patch-TRM, built from the seed: learns to answer questions about icons from nothing."),
        (
            "OWNER/MODEL",
            "A Hugging Face id of a CLIP or SigLIP, of a LLaVA or LLaVA-NeXT, BLIP-2 or InstructBLIP, Qwen2-VL or "
            "Qwen2.5-VL, Idefics3 or SmolVLM, MiniCPM-V 4.6; fetched once.",
        ),
        ("PACKAGE.MODULE:FUNCTION", "A function of your own that returns a backbone."),
        ("FOLDER", "Such a model in a local folder, as save_pretrained writes it."),
    ]

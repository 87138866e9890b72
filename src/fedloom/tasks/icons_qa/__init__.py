"""Questions about drawn scenes in the style of IconQA (Lu et al., 2021): one file a kind of answer."""

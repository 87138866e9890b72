"""Questions about abstract diagrams, from a folder of IconQA (Lu et al., 2021): one file a kind of answer."""

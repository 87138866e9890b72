"""From run folders to tables, plots and one self-contained page."""

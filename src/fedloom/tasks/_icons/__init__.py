"""The embedded world: scenes drawn from the icon fonts of two Python packages, with everything known about them."""

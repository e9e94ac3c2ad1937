"""The checks of the exercises, one module each. They are plain pytest functions; `expecting.py` says how they speak."""

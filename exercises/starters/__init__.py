"""The exercises as they are before anything is solved. `make reset-1` restores from here."""

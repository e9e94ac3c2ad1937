"""One async generator, two modes."""

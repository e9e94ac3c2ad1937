"""The course: exercises that check themselves. `exercises/README.md` is its map, `course.toml` its table of contents."""

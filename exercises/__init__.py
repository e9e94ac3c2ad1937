"""The course: exercises that check themselves. `README.md` is its map, `course.toml` its table of contents."""

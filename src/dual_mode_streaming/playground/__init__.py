"""The demo application: real data, each through one async generator and in both modes.

- `metrics`: this machine's CPU, memory, disk and network, live.
- `search`: full-text search over the language reference that ships with Python.
- `imports`: a CSV file of any size, read into SQLite while its progress is told. `uploads` takes the file in and
  `records` reads it row by row.
- `app`: the three as endpoints, and the index page.

The sources know nothing of the library: they are plain async generators of Pydantic models. Only `app` does.
"""

"""The demo application: real data in both modes, and a page to play with it.

Sources, which know nothing of the library; they are plain async generators of Pydantic models:

- `metrics`: this machine's CPU, memory, disk and network, live.
- `search`: full-text search over the language reference that ships with Python.
- `imports`: a CSV file of any size, read into SQLite while its progress is told. `uploads` takes the file in and
  `records` reads it row by row.

What is made of them, and what the page needs beside:

- `endpoints`: these three, in both modes.
- `reports`: a run, which goes on without its clients.
- `live`: a channel with the pulse of the server, for all pages.
- `hoses`: channels with a fast producer and one reader, to watch backpressure.
- `breaking`: a source that breaks where it is told to.
- `wires`: connections that can be cut.
- `page`: the page and its files, which are in `static`.
- `app`: all of it together, with a language model.
"""

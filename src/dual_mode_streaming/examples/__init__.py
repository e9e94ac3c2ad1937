"""Examples to run and to read, one idea each, in this order.

1. `example_1_basic_streaming`: a source is an async iterator; watch its items arrive.
2. `example_2_mode_detection`: one URL, many requests; which answer does each of them get?

Each starts a real server on a free port of this machine, calls it as any client would, and prints what happens. They
need the extra `cli` and no network.
"""

"""Examples to run and to read, one idea each, in this order.

1. `example_1_basic_streaming`: a source is an async iterator; watch its items arrive.
2. `example_2_mode_detection`: one URL, many requests; which answer does each of them get?
4. `example_4_backpressure`: a fast producer, a slow reader; what becomes of the items in between?
5. `example_5_resume`: a wire is cut, a process is killed; a run goes on, or says that it cannot.

The first two start a real server on a free port of this machine, call it as any client would, and print what happens.
All need the extra `cli` and no network.
"""

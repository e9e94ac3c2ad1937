"""Examples to run and to read, one idea each, in this order.

1. `example_1_basic_streaming`: a source is an async iterator; watch its items arrive.
2. `example_2_mode_detection`: one URL, many requests; which answer does each of them get?
3. `example_3_llm_streaming`: a language model; OpenAI's client, both modes, times, errors.
4. `example_4_backpressure`: a fast producer, a slow reader; what becomes of the items in between?
5. `example_5_resume`: a wire is cut, a process is killed; a run goes on, or says that it cannot.

Those that need a server start a real one on a free port of this machine and call it as any client would.
All need the extra `cli` and no network.
"""

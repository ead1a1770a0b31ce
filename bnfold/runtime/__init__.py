"""Running models: sessions, their inputs, and the child processes that they run in.

    sources.py     a model that somebody hands in, as a file
    inputs.py      makes inputs for a model out of its graph inputs
    input_files.py inputs that somebody has
    sessions.py    onnxruntime, and nothing else in bnfold imports it
    binding.py     inferences from device memory to device memory
    alone.py       one model, timed in a process of its own
    probing.py     what onnxruntime can do on this machine
    providers.py   execution providers: an onnxruntime session that really runs on the one that was asked for
    optimised.py   what onnxruntime folds by itself
    profiling.py   how long each kind of operator takes
    assignment.py  whether it did
    overhearing.py what onnxruntime logs meanwhile
    repairs.py     the packages that bring a provider
    isolation.py   calls a function in a fresh process, so that a crash in a runtime is an error and not the end
    child.py       the other side of that call

Nothing here is imported before it is used: the parent process never loads onnxruntime.
"""

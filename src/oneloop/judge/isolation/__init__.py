"""Code that is not trusted runs here, in worker processes that are shut in and limited.

`sandbox.py` shares calls out among workers, `process.py` is one of them seen from the run, `worker.py` its
inside, `watch.py` its end, `messages.py` what passes between. `confinement.py` puts the layers on:
`namespaces.py`, `landlock.py`, `seccomp.py`, by `system.py`. `forked.py` makes the copies of a worker in
which a model's texts are scored. `notice.py` says what a system lacks. `in_process.py` calls Python
callables, which are trusted. Who is trusted with what is in docs/threat_model.md.
"""

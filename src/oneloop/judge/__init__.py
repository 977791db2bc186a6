"""How good was it: a score, nothing, or a failure a rollout. Protocol: `oneloop.core.protocols.Part`.

`stage.py` asks every judge and adds the verdicts up. To add a judge: a file `name.py` with a class `Name`
under `@part`; it writes `reward.<name>` by `oneloop.core.verdicts`.
"""

"""Networks a flow policy trains. Protocol: `oneloop.core.protocols.FlowModel`.

To add one: a file `name.py` with a class `Name` under `@part` whose `build()` returns the network.
"""

"""How pydantic checks what a recipe configures: no unknown option; the text below a field is its meaning."""

from pydantic import ConfigDict

CONFIGURATION = ConfigDict(
    extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True, allow_inf_nan=False
)

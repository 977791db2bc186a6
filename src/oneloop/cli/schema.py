"""`oneloop schema`: the JSON schema of recipes, for editors."""

import json

from oneloop.recipe.schema import recipe_schema


def schema() -> None:
    """Print the JSON schema of recipes.

    Example: oneloop schema > recipe.schema.json
    """
    print(json.dumps(recipe_schema(), indent=2))

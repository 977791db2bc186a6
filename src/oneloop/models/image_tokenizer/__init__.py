"""Tokenizers of images: the networks an `image_tokenizer` policy trains, and files of tokens.

Protocol: `oneloop.core.protocols.ImageTokenizerModel`. To add one: a file `name.py` with a class `Name` under
`@part` whose `build()` returns a `torch.nn.Module` with the methods of
`oneloop.models.image_tokenizer.tokenizer.OneDTokenizer`.
"""

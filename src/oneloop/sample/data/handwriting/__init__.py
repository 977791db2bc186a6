"""Written words by writer: what the data parts `handwriting_fonts`, `iam_words` and `writer_folders` share.

splits    which writers and words are kept for evaluation
options   options that all three have
rows      a row of a target and two references, from anything that has writers and words
fonts     a font as a writer
jitter    how two words of one font differ
scanned   pictures of words in files
word_list the words that fonts write if no others are named
"""

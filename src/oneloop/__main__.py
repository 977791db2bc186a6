"""`python -m oneloop` is `oneloop`."""

from oneloop.cli.main import main

if __name__ == "__main__":
    main()

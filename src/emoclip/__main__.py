"""`python -m emoclip` is the `emoclip` command."""

from emoclip.cli import main

if __name__ == "__main__":
    main()

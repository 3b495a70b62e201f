"""``python -m mitoyolo``: the same program as ``mitoyolo``."""

from mitoyolo.cli import main

if __name__ == "__main__":
    main()

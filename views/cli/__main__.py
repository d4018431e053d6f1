"""``python -m dynaview.views.cli``."""

from dynaview.views.cli import main

main()

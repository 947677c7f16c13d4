# SPDX-License-Identifier: MIT
"""How a script of tests of our programs runs: SCRIPT DIRECTORY_OF_PROGRAMS [what else it takes]."""
import os
import shutil
import sys
import unittest

SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def skip(why):
    print(f'skipped: {why}')
    sys.exit(SKIPPED)


def main(*needed):
    """Runs the script's cases. Without the programs it needs it says so and is skipped, but fails where CI says that they
    must be there."""
    if lacking := [name for name in needed if shutil.which(name) is None]:
        if os.environ.get('CI'):
            sys.exit(f'failed: {", ".join(lacking)} must be there (docker/install test)')
        skip(f'{", ".join(lacking)} is not there (docker/install test)')
    unittest.main(argv=sys.argv[:1], verbosity=2)

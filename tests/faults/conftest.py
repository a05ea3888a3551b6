"""Tests here share the stand-in for the computation with the sweeps, which are scripts beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

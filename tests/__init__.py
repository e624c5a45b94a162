from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Real data beside the project; whoever needs it skips where it is absent.
SHARED_DATA = ROOT.parent / "shared" / "data"

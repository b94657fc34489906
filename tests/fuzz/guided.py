"""Coverage-guided fuzzing of one target with atheris, over the uncompiled modules:

    python tests/fuzz/guided.py TARGET [CORPUS…] [-max_total_time=60 and other options of libFuzzer]

Without a corpus, the one in tests/fuzz/corpus/TARGET is read and not added to. A defect ends it with a traceback, a
status other than 0 and a file crash-…, timeout-… or oom-… with the input.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

#: seconds for one input, megabytes in all, bytes of one input
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=8192")


def main() -> None:
    import atheris
    import pure

    pure.install()
    with atheris.instrument_imports(include=["analyzer"]):
        from fuzz.targets import TARGETS

    name, *words = sys.argv[1:]
    if all(word.startswith("-") for word in words):
        words += ["-runs=-1", str(_scratch()), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], *LIMITS, *words], TARGETS[name])
    atheris.Fuzz()


def _scratch() -> Path:
    """A folder for what is found, so that the corpus stays as it is: libFuzzer writes to the first it is given."""
    from tempfile import mkdtemp

    return Path(mkdtemp(prefix="handshake-fuzz-"))


if __name__ == "__main__":
    main()

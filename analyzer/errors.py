"""Every error a user can meet, in one tree. The command catches `AnalyzerError` once and exits with its code.

    AnalyzerError                    exit status 1: could not do it
    ├── CaptureError                 a capture cannot be opened or is not one
    │   ├── NotACaptureError         the bytes are something else; the message names it
    │   └── MissingReaderError       the format is read by a library that is not installed
    ├── ClusterError                 workers cannot be reached, or do not get the work done
    ├── OutputError                  a result cannot be written where it was asked for
    ├── StateError                   no run can go on from a file of --continue
    └── UsageError                   exit status 2: the words of the call are off

A message is one line: what is wrong, with what, and what to do.
"""


class AnalyzerError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the command's status."""

    exit_code = 1


class CaptureError(AnalyzerError):
    """A capture cannot be opened or read at all."""


class NotACaptureError(CaptureError):
    """The file is not pcap or pcapng; the message says what it looks like."""


class MissingReaderError(CaptureError):
    """The file needs a library that is not installed; the message names it."""


class ClusterError(AnalyzerError):
    """Workers cannot be reached, or do not get the work done."""


class OutputError(AnalyzerError):
    """A result cannot be written where it was asked for."""


class StateError(AnalyzerError):
    """A file of --continue is damaged, of something else, or of a run with other options."""


class UsageError(AnalyzerError):
    """The call's words are off: an unknown flow, a bad expression, a bad time."""

    exit_code = 2

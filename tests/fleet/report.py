"""What was checked, a line each."""

import os


class Report:
    def __init__(self):
        self.failed = 0

    def check(self, what, is_well, told=""):
        """Notes one check. `told` explains it where it has failed."""
        print(f"{'ok     ' if is_well else 'NOT OK '} {what}", flush=True)
        if not is_well:
            self.failed += 1
            for line in str(told).splitlines():
                print(f"        {line}", flush=True)

    def none(self, what, faults):
        """Notes a check that has found these faults."""
        self.check(what, not faults, "\n".join(faults))

    def skip(self, why):
        print(f"skipped: {why}", flush=True)
        if os.environ.get("ECHOD_STRICT"):
            self.failed += 1

    def code(self):
        return 1 if self.failed else 0

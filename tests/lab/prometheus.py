# SPDX-License-Identifier: BSD-3-Clause
"""The Prometheus text format 0.0.4, read as strictly as its words are written."""

import re

SAMPLE = re.compile(
    r'^([a-z_]\w*)((?:\{[a-z_]\w*="[^"\\\n]*"(?:,[a-z_]\w*="[^"\\\n]*")*\})?) (\d+)$'
)


def parse(text):
    """Name with labels: value. What a scraper would refuse or misread is an AssertionError."""
    assert text.endswith("\n")
    values, helped, typed = {}, set(), {}
    current = None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            assert words and name not in helped, line
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge"), line
            assert name in helped and name not in typed, line
            typed[name], current = kind, name
        else:
            sample = SAMPLE.match(line)
            assert sample, line
            name = sample[1]
            # All samples of a name stand together, behind its type.
            assert name == current, line
            assert (typed[name] == "counter") == name.endswith("_total"), line
            assert sample[1] + sample[2] not in values, line
            values[sample[1] + sample[2]] = int(sample[3])
    assert helped == set(typed)
    return values

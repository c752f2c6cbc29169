#!/usr/bin/env python3
"""Makes the traces of this directory and the figures that the reference simulator gives for them.

usage: generate.py DIRECTORY_OF_MVSIM
"""
import csv
import gzip
import io
import math
import os
import random
import sys

sys.path.insert(0, sys.argv[1])
import mvsim

HERE = os.path.dirname(os.path.abspath(__file__))
MONDAY = 1735516800  # 2024-12-30 00:00 UTC
DAY = 86400
rnd = random.Random(42)


def poisson(mean):
    limit, k, p = math.exp(-mean), 0, 1.0
    while True:
        p *= rnd.random()
        if p < limit:
            return k
        k += 1


def rate(t):
    """Reads in five minutes: office hours with a dip at noon, little at night and at the weekend."""
    weekday, hour = (t - MONDAY) // DAY % 7, t % DAY / 3600
    peaks = 6 * math.exp(-(((hour - 10) / 2) ** 2)) + 5 * math.exp(-(((hour - 15) / 2) ** 2))
    return 0.05 + (peaks if weekday < 5 else 0.3)


def write(name, header, rows):
    text = "\n".join([header] + [",".join(map(str, row)) for row in rows]) + "\n"
    with open(os.path.join(HERE, name + ".csv.gz"), "wb") as f, gzip.GzipFile(fileobj=f, mode="wb", mtime=0, filename="") as g:
        g.write(text.encode())


burst, rows = 0.0, []
for t in range(MONDAY, MONDAY + 35 * DAY, 300):
    if rnd.random() < 0.002:
        burst = 8.0
    rows.append((t, poisson(rate(t) + burst)))
    burst *= 0.9
write("office_5min", "t,count", rows)
write("office_30min", "t,count", [(t, poisson(2 * rate(t))) for t in range(MONDAY, MONDAY + 35 * DAY, 1800)])

t, events = MONDAY + 1000.0, [(MONDAY,)]
while t < MONDAY + 37 * DAY:
    t += rnd.expovariate(1 / 14400)
    for _ in range(1 + poisson(2)):
        events.append((int(t),))
        t += rnd.expovariate(1 / 600)
write("changes_events", "t", events)

POLICIES = {"EOQ trailing 7d": "eoq", "half read gap": "half_read_gap", "EOQ pow2 (target-lag)": "power_of_two"}
with open(os.path.join(HERE, "reference.csv"), "w", newline="") as f:
    out = csv.writer(f, lineterminator="\n")
    out.writerow(["reads", "changes", "target_seconds", "policy", "refreshes", "cost_j", "mean_age_seconds", "p95_age_seconds"])
    for reads, changes in (("office_5min", ""), ("office_30min", ""), ("office_5min", "changes_events")):
        for target in (900, 3600, 14400):
            path = lambda name: os.path.join(HERE, name + ".csv.gz")
            _, results = mvsim.run(reads, path(reads), target, upath=path(changes) if changes else None,
                                   eval_days=21, out=io.StringIO(), pols=list(POLICIES))
            for name, e in results.items():
                policy = "clairvoyant" if name == "CLAIRVOYANT" else "best_fixed" if name.startswith("best fixed") else POLICIES.get(name)
                if policy:
                    out.writerow([reads, changes, target, policy, e["n"], repr(e["J"]), repr(e["mean_age"]), repr(e["p95_age"])])

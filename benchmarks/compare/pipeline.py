"""The plain pipeline: fetch flights page by page, fit, hand in a report, look at its spread.

A notebook as percent script; knows of no tool. What a person sees is printed as `label: value`.
"""

# %%
import csv
import itertools
import os
import random
import statistics
import uuid
from datetime import UTC, datetime

import httpx

PAGES = int(os.environ["PAGES"])
SAMPLE = int(os.environ["SAMPLE"])
client = httpx.Client(base_url=os.environ["FLIGHTS_URL"], trust_env=False)


# %%
def fetch(page):
    """Get one page: when, and (distance, delay) of each flight that landed."""
    answer = client.get("/flights", params={"page": page})
    answer.raise_for_status()
    flights = csv.DictReader(answer.text.splitlines())
    points = [
        (float(f["distance"]), float(f["arr_delay"])) for f in flights if f["arr_delay"] != "NA"
    ]
    return datetime.now(UTC).isoformat(), points


def trend(points):
    """Return the median of all slopes between two points: delay per mile."""
    return statistics.median(
        (later - delay) / (farther - distance)
        for (distance, delay), (farther, later) in itertools.combinations(points, 2)
        if farther != distance
    )


def hand_in(report):
    """Post the report; return its receipt."""
    answer = client.post("/reports", json=report, timeout=60)
    answer.raise_for_status()
    return answer.json()["receipt"]


# %%
started = datetime.now(UTC).isoformat()
report_id = str(uuid.uuid4())
print("started:", started)
print("report id:", report_id)

# %%
points = []
stamps = []
for page in range(1, PAGES + 1):
    stamp, fresh = fetch(page)
    stamps.append(stamp)
    points += fresh
    if page % (PAGES // 6) == 0:
        print(f"trend after page {page}:", trend(points[-SAMPLE:]))
print("first page at:", stamps[0])
print("last page at:", stamps[-1])

# %%
sample = random.sample(points, SAMPLE)
print("sample:", sample[:4])

# %%
slope = trend(sample)
print("slope:", slope)

# %%
report = {"report_id": report_id, "started": started, "slope": slope}
receipt = hand_in(report)
print("receipt:", receipt)

# %%
slopes = []
for _ in range(4):
    again = random.sample(points, SAMPLE)
    slopes.append(trend(again))
print("spread:", min(slopes), max(slopes))

"""Data: any data set as rows of one schema, checks, and the built-in visual world.

load("shapes") draws the built-in world; load("org/set"), load("folder") and load("file.jsonl") read third-party data,
load("geometry3k") a known set, load("mix.yaml") several at once. docs/data.md describes all of it.
"""

from srpo.data.images import check_images
from srpo.data.loading import load, load_splits
from srpo.data.schema import DataError, parse_columns

__all__ = ["DataError", "check_images", "load", "load_splits", "parse_columns"]

"""Is a reply's answer the reference answer? Pure functions from two texts to a decision with its reason.

This package imports neither torch nor TRL, so a grader process or a data check starts at once.
"""

from srpo.grading.decision import Grade
from srpo.grading.grader import MAX_CHARACTERS, check_reference, grade
from srpo.grading.task import TASKS, Task, Tolerance, parse_task

__all__ = ["MAX_CHARACTERS", "TASKS", "Grade", "Task", "Tolerance", "check_reference", "grade", "parse_task"]

"""The grounding audit: does the answer rest on the image, on right facts, and on the perception that the reply states?

Pure functions over rows and replies: `AuditRequests` says what to ask again, `audit_metrics` what the replies tell.
"""

from srpo.audit_legend import legend
from srpo.evaluation.audit.metrics import audit_metrics, audit_metrics_by
from srpo.evaluation.audit.perception import perception_scores
from srpo.evaluation.audit.variants import VARIANTS, AuditRequests, check_corruption, image_corruption

__all__ = [
    "VARIANTS",
    "AuditRequests",
    "audit_metrics",
    "audit_metrics_by",
    "check_corruption",
    "image_corruption",
    "legend",
    "perception_scores",
]

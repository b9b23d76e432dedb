"""How much GPU memory a run needs, before it starts: pure arithmetic on shapes, checked against measured peaks.

shapes.py    model config → parameter counts and layer widths (the model is built without memory, on the meta device)
options.py   the prompts of a data set, the options of a run
phases.py    shapes, prompts and options → bytes by phase and part
report.py    the estimate in lines, whether it fits, and what to do when it does not
"""

from srpo.memory.options import Prompts, Setup
from srpo.memory.phases import Estimate, estimate
from srpo.memory.report import describe_memory
from srpo.memory.shapes import LayerShape, ModelShape, model_shape

__all__ = [
    "Estimate",
    "LayerShape",
    "ModelShape",
    "Prompts",
    "Setup",
    "describe_memory",
    "estimate",
    "model_shape",
]

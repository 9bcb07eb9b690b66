"""Soft operators for PyTorch: the call of SoftTorch, the mathematics of `softjax_ops`.

`import softjax_ops.torch as st`. See docs/torch.md.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("softjax_ops.torch needs PyTorch: pip install 'softsim[torch]'") from error

from softjax_ops._types import SoftBool as SoftBool
from softjax_ops._types import SoftIndex as SoftIndex
from softjax_ops.torch.axiswise import argmax as argmax
from softjax_ops.torch.axiswise import argmin as argmin
from softjax_ops.torch.axiswise import argsort as argsort
from softjax_ops.torch.axiswise import max as max
from softjax_ops.torch.axiswise import min as min
from softjax_ops.torch.axiswise import rank as rank
from softjax_ops.torch.axiswise import sort as sort
from softjax_ops.torch.axiswise import topk as topk
from softjax_ops.torch.comparison import eq as eq
from softjax_ops.torch.comparison import greater as greater
from softjax_ops.torch.comparison import greater_equal as greater_equal
from softjax_ops.torch.comparison import isclose as isclose
from softjax_ops.torch.comparison import less as less
from softjax_ops.torch.comparison import less_equal as less_equal
from softjax_ops.torch.comparison import not_equal as not_equal
from softjax_ops.torch.elementwise import abs as abs
from softjax_ops.torch.elementwise import clamp as clamp
from softjax_ops.torch.elementwise import heaviside as heaviside
from softjax_ops.torch.elementwise import relu as relu
from softjax_ops.torch.elementwise import round as round
from softjax_ops.torch.elementwise import sign as sign
from softjax_ops.torch.kernels import sigmoidal as sigmoidal
from softjax_ops.torch.kernels import softrelu as softrelu
from softjax_ops.torch.logic import all as all
from softjax_ops.torch.logic import any as any
from softjax_ops.torch.logic import logical_and as logical_and
from softjax_ops.torch.logic import logical_not as logical_not
from softjax_ops.torch.logic import logical_or as logical_or
from softjax_ops.torch.logic import logical_xor as logical_xor
from softjax_ops.torch.quantiles import argmedian as argmedian
from softjax_ops.torch.quantiles import argpercentile as argpercentile
from softjax_ops.torch.quantiles import argquantile as argquantile
from softjax_ops.torch.quantiles import median as median
from softjax_ops.torch.quantiles import percentile as percentile
from softjax_ops.torch.quantiles import quantile as quantile
from softjax_ops.torch.safe import arccos as arccos
from softjax_ops.torch.safe import arcsin as arcsin
from softjax_ops.torch.safe import div as div
from softjax_ops.torch.safe import log as log
from softjax_ops.torch.safe import norm as norm
from softjax_ops.torch.safe import sqrt as sqrt
from softjax_ops.torch.selection import index_select as index_select
from softjax_ops.torch.selection import narrow as narrow
from softjax_ops.torch.selection import take as take
from softjax_ops.torch.selection import take_along_dim as take_along_dim
from softjax_ops.torch.selection import where as where
from softjax_ops.torch.straight_through import abs_st as abs_st
from softjax_ops.torch.straight_through import argmax_st as argmax_st
from softjax_ops.torch.straight_through import argmedian_st as argmedian_st
from softjax_ops.torch.straight_through import argmin_st as argmin_st
from softjax_ops.torch.straight_through import argpercentile_st as argpercentile_st
from softjax_ops.torch.straight_through import argquantile_st as argquantile_st
from softjax_ops.torch.straight_through import argsort_st as argsort_st
from softjax_ops.torch.straight_through import clamp_st as clamp_st
from softjax_ops.torch.straight_through import eq_st as eq_st
from softjax_ops.torch.straight_through import grad_replace as grad_replace
from softjax_ops.torch.straight_through import greater_equal_st as greater_equal_st
from softjax_ops.torch.straight_through import greater_st as greater_st
from softjax_ops.torch.straight_through import heaviside_st as heaviside_st
from softjax_ops.torch.straight_through import isclose_st as isclose_st
from softjax_ops.torch.straight_through import less_equal_st as less_equal_st
from softjax_ops.torch.straight_through import less_st as less_st
from softjax_ops.torch.straight_through import max_st as max_st
from softjax_ops.torch.straight_through import median_st as median_st
from softjax_ops.torch.straight_through import min_st as min_st
from softjax_ops.torch.straight_through import not_equal_st as not_equal_st
from softjax_ops.torch.straight_through import percentile_st as percentile_st
from softjax_ops.torch.straight_through import quantile_st as quantile_st
from softjax_ops.torch.straight_through import rank_st as rank_st
from softjax_ops.torch.straight_through import relu_st as relu_st
from softjax_ops.torch.straight_through import round_st as round_st
from softjax_ops.torch.straight_through import sign_st as sign_st
from softjax_ops.torch.straight_through import sort_st as sort_st
from softjax_ops.torch.straight_through import st as st
from softjax_ops.torch.straight_through import topk_st as topk_st

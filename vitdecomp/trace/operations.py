"""What each ATen operation is: product, projection, norm, pooling, move, pointwise. The one classification.

A class holds overload packets. It says what an operation can be; whether a product is one of two operands of the image
(an attention) or of one with a parameter (a projection) depends on the node, and is told by `is_product_of_data` in
`axes.attention_ops` and by `is_parametric`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from vitdecomp.trace.rule import varies

aten = torch.ops.aten
SDPA = aten.scaled_dot_product_attention


def _packets(names: str) -> frozenset[Any]:
    """Look up the packets of some names; leave out those that this version of torch does not have."""
    return frozenset(getattr(aten, name) for name in names.split() if hasattr(aten, name))


# What the fused attention becomes when it is taken apart, all with the arguments' names that it has itself.
FUSED = _packets("""
    _scaled_dot_product_attention_math _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention
    _scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable
""")
ATTENTIONS = FUSED | {SDPA}
SOFTMAX = _packets("softmax _softmax _safe_softmax")

ADDED_PRODUCTS = _packets("addmm addmv baddbmm")
"""Products whose first argument is added to them."""
PRODUCTS = _packets("matmul mm bmm mv einsum") | ADDED_PRODUCTS
"""Products of matrices, either of which may be a parameter."""
CONVOLUTIONS = _packets("""
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution
""")
PROJECTIONS = _packets("linear") | CONVOLUTIONS
"""Products that have a parameter by their nature."""
NORMS = _packets("""
    layer_norm native_layer_norm group_norm native_group_norm rms_norm _fused_rms_norm instance_norm batch_norm
    cudnn_batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _batch_norm_no_update
""")
EXTREMA = _packets("amax amin max min")
POOLING = EXTREMA | _packets("""
    mean sum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices
    max_pool3d max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
""")
MIXES = PRODUCTS | ATTENTIONS | PROJECTIONS | NORMS | POOLING
"""All that makes an element of several others."""

COPIES = _packets("clone contiguous to _to_copy alias detach lift_fresh dropout native_dropout")
REARRANGES = COPIES | _packets("""
    view _unsafe_view reshape flatten unflatten squeeze unsqueeze view_as _reshape_alias reshape_as view_copy ravel
    unsqueeze_copy squeeze_copy permute permute_copy transpose transpose_copy swapaxes swapdims t t_copy mT numpy_T
    movedim moveaxis roll flip fliplr flipud rot90 pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle
    slice slice_copy select select_copy narrow narrow_copy unbind unbind_copy split chunk unsafe_split unsafe_chunk
    tensor_split split_copy split_with_sizes unsafe_split_with_sizes split_with_sizes_copy
""")
"""Moves of one operand: elements in another order, or some of them."""
REPEATS = _packets("""
    expand expand_as expand_copy broadcast_to repeat tile repeat_interleave upsample_nearest1d upsample_nearest2d
    upsample_nearest3d
""")
CONCATENATES = _packets("cat concat concatenate")
JOINS = CONCATENATES | _packets("stack hstack vstack dstack column_stack row_stack")
MOVES = REARRANGES | REPEATS | JOINS
"""All that puts elements elsewhere and makes no new ones."""
UNTAGGED = COPIES | _packets("hardswish prelu _prelu_kernel relu6 hardsigmoid")
"""Pointwise operations without torch's tag."""


def packet(node: fx.Node) -> Any:
    """Return the operation of a node, of whatever overload; `None` where it is no ATen operation."""
    return getattr(node.target, "overloadpacket", None)


def is_pointwise(node: fx.Node) -> bool:
    """Check whether a node's operation acts on each element alone."""
    return torch.Tag.pointwise in getattr(node.target, "tags", ()) or packet(node) in UNTAGGED


def is_parametric(node: fx.Node) -> bool:
    """Check whether a node is a product of which one factor alone depends on the input."""
    if packet(node) not in PRODUCTS | PROJECTIONS:
        return False
    return sum(map(varies, factors(node))) == 1


def factors(node: fx.Node) -> list[fx.Node]:
    """Return the factors of a product (of an attention: queries, keys and values), without what is added to it."""
    if packet(node) is aten.einsum:
        return list(node.args[1])  # type: ignore[arg-type]
    first = 1 if packet(node) in ADDED_PRODUCTS else 0
    count = 3 if packet(node) in ATTENTIONS else 2
    return [a for a in node.args[first : first + count] if isinstance(a, fx.Node)]
